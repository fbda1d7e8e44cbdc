"""Scores a trained network on the test images: see `python -m runners.evaluate --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("evaluate")
