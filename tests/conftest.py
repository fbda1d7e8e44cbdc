"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest

# The tests are quiet, and never look for a GPU that other work on the machine may hold.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MNIST_FILE = "train-images-idx3-ubyte"


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the real MNIST files, given by MNIST_CORE_DATA_DIR."""
    folder = Path(os.environ.get("MNIST_CORE_DATA_DIR", ""))
    if not any((folder / (MNIST_FILE + ending)).is_file() for ending in ("", ".gz")):
        pytest.skip("real MNIST not found: set MNIST_CORE_DATA_DIR to the folder of its four files")
    return folder
