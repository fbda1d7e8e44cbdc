"""What the tests of pages share: the shipped weights, and digits that they weren't trained on."""

from pathlib import Path

import pytest

from mnist_core.data.datasets import load
from mnist_core.data.split import Split
from mnist_core.vision.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(log_dir=tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def test_digits(mnist_dir: Path) -> Split:
    return load("mnist", mnist_dir).test
