"""Says what TensorFlow sees on this machine: see `python -m runners.doctor --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("doctor")
