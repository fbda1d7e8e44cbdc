"""Draws the curves and tables of a run: see `python -m runners.plot --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("plot")
