"""Writes a trained network for other runtimes: see `python -m runners.export --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("export")
