"""Reads digits from a pad, a camera or a video: see `python -m runners.live --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("live")
