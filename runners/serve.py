"""Shows a page that reads digits: see `python -m runners.serve --help`."""

from mnist_core.cli import run

if __name__ == "__main__":
    run("serve")
