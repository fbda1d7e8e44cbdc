"""Scores a trained network on the test images: accuracy, loss, confusion, precision, recall, calibration."""

import argparse

from mnist_core import cli, runs
from mnist_core.config import read_json
from mnist_core.imports import import_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    parser.add_argument("--dataset", help="whose test images (default: the run's dataset)")
    parser.add_argument("--data-dir", help="folder of the MNIST files; no other is searched then")
    parser.add_argument(
        "--batch-size", type=int, default=1000, help="images at a time (default: %(default)s)"
    )


def main(args: argparse.Namespace) -> cli.Answer:
    """Scores the last weights of a run."""
    directory = runs.find_run(args.run, args.log_dir)
    config = read_json(directory / runs.CONFIG).replace(batch_size=args.batch_size)

    import_tensorflow()
    from mnist_core import device
    from mnist_core.data.datasets import load
    from mnist_core.loop.evaluator import Evaluator

    # Mapped, as the training images are not looked at.
    data = load(args.dataset or runs.dataset_of(directory), args.data_dir or config.data_dir, mmap=True)
    device.choose("auto", parts=1)
    model, _ = runs.load_model(directory)
    report = Evaluator(model, config.batch_size, tta=config.tta)(data.test)
    rows = [
        "{digit:<5}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {support:6d}".format(**row)
        for row in report.per_class
    ]
    text = [
        f"{directory} on the test images of {data.name}",
        f"accuracy {report.accuracy:.2%}, {report.errors} of {report.count:,} wrong, loss {report.loss:.4f}, "
        f"expected calibration error {report.calibration_error:.2%}",
        "digit  precision  recall      f1  images",
        *rows,
    ]
    return cli.Answer({"run_dir": str(directory), "dataset": data.name, **report.to_json()}, "\n".join(text))
