"""Reads the digit in each image file: PNG, JPEG and what else OpenCV decodes, of any size and polarity."""

import argparse
from typing import TYPE_CHECKING, Any

from mnist_core import cli
from mnist_core.errors import InputError

if TYPE_CHECKING:
    from mnist_core.vision.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    cli.add_engine_argument(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file")
    parser.add_argument(
        "--single", action="store_true", help="take each picture as one digit, as this version always does"
    )


def main(args: argparse.Namespace) -> cli.Answer:
    """Reads every image, also when some fail."""
    predictor = cli.import_predictor()(args.run, args.log_dir, engine=args.engine)
    images = [_read(predictor, path, single=args.single) for path in args.images]
    failed = [image for image in images if image["status"] == "error"]
    error = None
    if failed:
        error = InputError(f"{len(failed)} of {len(images)} images can't be read: {failed[0]['message']}")
    return cli.Answer({"run_dir": str(predictor.run), "images": images}, _table(images), error)


def _read(predictor: "Predictor", path: str, *, single: bool) -> dict[str, Any]:
    try:
        page = predictor.read(path, single=single)
    except InputError as error:
        return {"path": path, "status": "error", "digits": [], "text": "", "message": str(error)}
    digits = [
        {"digit": one.digit, "probability": one.probability, "box": list(one.box)} for one in page.digits
    ]
    status, message = ("ok", "") if digits else ("no_digit", "nothing is written on it")
    return {"path": path, "status": status, "digits": digits, "text": page.text, "message": message}


def _table(images: list[dict[str, Any]]) -> str:
    width = max(len(image["path"]) for image in images)
    lines = []
    for image in images:
        found = [f"{one['digit']}  {one['probability']:.1%}" for one in image["digits"]]
        lines.append(f"{image['path']:{width}}  {' '.join(found) or image['message']}")
    return "\n".join(lines)
