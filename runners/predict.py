"""Reads digits from image files: see `python -m runners.predict --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("predict")
