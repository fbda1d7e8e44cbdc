"""Reads the digits in image files: PNG, JPEG and what else OpenCV decodes, of any size and polarity."""

import argparse
import contextlib
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_core import cli
from mnist_core.errors import InputError, UsageError, warn
from mnist_core.imports import import_predictor

if TYPE_CHECKING:
    from mnist_core.vision.predictor import Predictor

ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".bmp",
    ".jp2",
    ".pgm",
    ".ppm",
    ".pbm",
    ".jfif",
    ".avif",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    cli.add_engine_argument(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image file, a folder of them, a pattern such as 'scans/*.png', or - for standard input",
    )
    parser.add_argument("--single", action="store_true", help="take each picture as one digit")
    parser.add_argument(
        "--annotate", metavar="DIR", help="write each picture with its digits marked into this folder"
    )
    parser.add_argument(
        "--explain", metavar="FILE.png", help="write the stages from one picture to what the network got"
    )


def main(args: argparse.Namespace) -> cli.Answer:
    """Reads every image, also when some fail."""
    paths = [path for name in args.images for path in expand(name)]
    if args.explain and len(paths) != 1:
        raise UsageError(f"--explain is for one image, not {len(paths)}; name one")
    predictor = import_predictor()(args.run, args.log_dir, engine=args.engine)
    if not args.json:
        warn(f"read with the weights of {predictor.run}")
    images = [_read(predictor, path, args, place) for place, path in enumerate(paths)]
    failed = [image for image in images if image["status"] == "error"]
    error = None
    if failed:
        error = InputError(f"{len(failed)} of {len(images)} images can't be read: {failed[0]['message']}")
    return cli.Answer({"run_dir": str(predictor.run), "images": images}, _table(images), error)


def expand(name: str) -> list[str]:
    """The images that an argument stands for: a folder's by name, a pattern's matches, or itself."""
    path = Path(name)
    if not name:
        raise UsageError("an empty name names no image; leave it out")
    # Reading it will say what is wrong with a name that is too long, or a folder that may not be entered.
    with contextlib.suppress(OSError):
        if path.is_dir():
            inside = (one for one in path.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())
            return sorted(map(str, inside)) or [name]
        if not path.exists() and glob.has_magic(name):
            # A Path takes no absolute pattern.
            return sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207
    return [name]


def _read(predictor: "Predictor", path: str, args: argparse.Namespace, place: int) -> dict[str, Any]:
    from mnist_core.vision.explain import explained
    from mnist_core.vision.overlay import marked
    from mnist_core.vision.read import read_image

    try:
        if Path(path).is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path}: no permission to enter this folder; name another one")
        gray = read_image(path)
        page = predictor.read(gray, single=args.single)
    except (InputError, OSError) as error:
        reason = f"{path}: {error.strerror}; name an image file" if isinstance(error, OSError) else str(error)
        return {"path": path, "status": "error", "digits": [], "text": "", "message": reason}
    if args.annotate:
        # What is added to a long name would make it too long.
        name = "standard-input" if path == "-" else os.fsdecode(os.fsencode(Path(path).name)[:200])
        _write_png(Path(args.annotate) / f"{place + 1:04d}-{name}.png", marked(gray, page))
    if args.explain:
        _write_png(Path(args.explain), explained(gray, page))
    digits = [
        {"digit": one.digit, "probability": one.probability, "box": list(one.box)} for one in page.digits
    ]
    status, message = ("ok", "") if digits else ("no_digit", "no digit is written on it")
    return {"path": path, "status": status, "digits": digits, "text": page.text, "message": message}


def _write_png(path: Path, picture: Any) -> None:
    """Writes a picture, whole or not at all."""
    from mnist_core.files import atomic_write
    from mnist_core.vision.read import encode_png

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(encode_png(picture))
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}; name another place") from error


def _table(images: list[dict[str, Any]]) -> str:
    width = max(len(image["path"]) for image in images)
    lines = []
    for image in images:
        rows = image["text"].split("\n")
        sure = " ".join(f"{one['probability']:.1%}" for one in image["digits"])
        found = f"{' '.join(rows)}  {sure}" if image["digits"] else image["message"]
        lines.append(f"{image['path']:{width}}  {found}")
    return "\n".join(lines)
