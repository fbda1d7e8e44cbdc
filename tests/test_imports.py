"""Starts are short: what nobody asks for is not imported, and is there for those who ask later."""

import ast

from mnist_core.imports import UNUSED
from tests.invoke import spawn

PROGRAM = f"""
import sys
from mnist_core.imports import import_tensorflow
import_tensorflow()
import keras, tensorflow
print([name for name in {UNUSED} if name in sys.modules])
import matplotlib.figure, sklearn.datasets
"""


def test_tensorflow_comes_without_what_it_can_do_without() -> None:
    done = spawn("-c", PROGRAM)
    assert done.code == 0, done
    assert ast.literal_eval(done.stdout) == []
