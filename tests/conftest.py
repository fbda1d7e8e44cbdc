"""Fixtures that many tests share."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mnist_core.data.synthetic import draw
from tests.forks import Forks, Training

# The tests are quiet, and never look for a GPU that other work on the machine may hold.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A shell has what it starts in the background ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

MNIST_FILE = "train-images-idx3-ubyte"


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the real MNIST files, given by MNIST_CORE_DATA_DIR."""
    folder = Path(os.environ.get("MNIST_CORE_DATA_DIR", ""))
    if not any((folder / (MNIST_FILE + ending)).is_file() for ending in ("", ".gz")):
        pytest.skip("real MNIST not found: set MNIST_CORE_DATA_DIR to the folder of its four files")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ``.npz`` of 1,200 drawn training images and 200 test images, which is read at once."""
    path = tmp_path_factory.mktemp("data") / "drawn.npz"
    (x_train, y_train), (x_test, y_test) = draw(1200, seed=0), draw(200, seed=1)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """The process whose forks `start` starts."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def options(drawn: Path) -> list[str]:
    """A small `train` command, with a checkpoint every 7 of its 60 steps and an evaluation every 20."""
    flags = "--device cpu --batch-size 48 --max-steps 60 --checkpoint-every 7 --eval-every 20"
    return [*flags.split(), "--dataset", str(drawn)]


@pytest.fixture(scope="session")
def whole(forks: Forks, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of `options` that nothing befell. Not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    argv = ["--json", *options, "--log-dir", str(folder / "logs")]
    return Path(Training(forks, argv, folder / "output").result()["run_dir"])


@pytest.fixture
def start(forks: Forks, tmp_path: Path) -> Callable[..., Training]:
    """Starts ``train --json`` with more arguments, in a process of its own."""
    started = iter(range(1000))
    return lambda *argv: Training(forks, ["--json", *map(str, argv)], tmp_path / f"output{next(started)}")
