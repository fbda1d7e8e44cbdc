"""Writes a trained network for other runtimes: uint8 pixels in, float32 probabilities out.

It is written once its own runtime has given the same probabilities as the network.
"""

import argparse
from pathlib import Path

from mnist_core import cli, runs
from mnist_core.errors import UsageError
from mnist_core.imports import import_tensorflow

# Where a format goes inside the run directory.
NAMES = {"savedmodel": "savedmodel", "litert": "model.tflite", "onnx": "model.onnx"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    parser.add_argument(
        "--format", choices=tuple(NAMES), default="savedmodel", help="what to write (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help=f"file, or folder of a SavedModel (default: {', '.join(NAMES.values())} in RUN; needed for the "
        "shipped weights)",
    )


def main(args: argparse.Namespace) -> cli.Answer:
    """Exports the last weights of a run."""
    directory = runs.find_run(args.run, args.log_dir)
    if directory == runs.SHIPPED and not args.out:
        raise UsageError("there is no run, only the weights that come with the package; say where with --out")
    path = Path(args.out) if args.out else directory / NAMES[args.format]

    import_tensorflow()
    from mnist_core import device, export

    # A GPU rounds products to ten bits by default, and the files are compared with the network.
    device.choose("cpu", parts=1)
    model, _ = runs.load_model(directory)
    difference = export.export(model, args.format, path)
    size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
    data = {
        "path": str(path),
        "format": args.format,
        "size_bytes": size,
        "max_abs_difference": difference,
    }
    text = f"{path}: {args.format}, {size:,} bytes, probabilities within {difference:.1e} of the network's"
    return cli.Answer(data, text)
