"""Draws the curves and tables of a run as PNG files: accuracy, loss, learning rate, confusion, errors.

A run that has not ended gets the pictures that it has data for.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core import cli, runs
from mnist_core.config import read_json
from mnist_core.errors import InputError, MnistCoreError, UsageError, warn
from mnist_core.files import atomic_write
from mnist_core.metrics import Misclassified
from mnist_core.reporting.history import History, read_history


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser, shipped=False)
    parser.add_argument("--out", metavar="DIR", help="folder of the pictures (default: RUN/plots)")


def main(args: argparse.Namespace) -> cli.Answer:
    """Draws what the run has data for."""
    run_dir = runs.find_run(args.run, args.log_dir, shipped=False)
    paths = draw_run(run_dir, Path(args.out) if args.out else run_dir / "plots")
    files = [str(path) for path in paths]
    return cli.Answer({"run_dir": str(run_dir), "files": files}, "\n".join(files))


def draw_run(run_dir: Path, out: Path) -> list[Path]:
    """Writes the pictures of a run into ``out`` and returns their paths.

    A picture that lacks its data is left out with a line on stderr.

    Raises:
      InputError: metrics.jsonl is missing, empty or damaged. UsageError: ``out`` can't be made.
    """
    from mnist_core.reporting.figures import to_png

    history = read_history(run_dir / runs.METRICS)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; name a folder that can be made with --out") from error
    paths = []
    for name, figure in _figures(run_dir, history):
        paths.append(out / name)
        with atomic_write(paths[-1]) as file:
            file.write(to_png(figure))
    return paths


def _figures(run_dir: Path, history: History) -> Iterator[tuple[str, Any]]:
    from mnist_core.reporting import figures

    yield "accuracy.png", figures.accuracy_curves(history)
    yield "loss.png", figures.loss_curves(history)
    if history.train:
        yield "learning_rate.png", figures.learning_rate_curve(history)
    else:
        warn("learning_rate.png left out: no training step was logged")
    split, scores = ("test", history.test) if history.test else ("validation", (history.evals or [None])[-1])
    if scores:
        yield "confusion.png", figures.confusion_matrix(scores["confusion"], split)
        yield "per_class.png", figures.per_class_accuracy(scores["confusion"], split)
    else:
        warn("confusion.png, per_class.png left out: the network was not scored yet")
    if history.test:
        try:
            yield "misclassified.png", _misclassified(run_dir, history.test)
        except MnistCoreError as error:
            warn(f"misclassified.png left out: {error}")
    else:
        warn("misclassified.png left out: the run has not ended with a test")


def _misclassified(run_dir: Path, test: dict[str, Any]) -> Any:
    from mnist_core.data.datasets import load
    from mnist_core.reporting.figures import misclassified_grid

    config = read_json(run_dir / runs.CONFIG)
    split = load(runs.dataset_of(run_dir), config.data_dir, mmap=True).test
    try:
        examples = [Misclassified(**example) for example in test["misclassified"]]
        same = all(split.labels[example.index] == example.label for example in examples)
    except (TypeError, IndexError):
        same = False
    if not same or len(split) != np.sum(test["confusion"]):
        raise InputError(f"the test images of {config.dataset} are not those the run was scored on")
    return misclassified_grid(split.images, examples)
