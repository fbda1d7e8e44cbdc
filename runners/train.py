"""Trains a network: see `python -m runners.train --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("train")
