"""Reads image files of any kind as upright gray pixels, or says in one line why that can't be done."""

import io
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from mnist_core.errors import InputError
from mnist_core.vision import MOST_PIXELS
from mnist_core.vision.gray import to_gray
from mnist_core.vision.quiet import quiet

# Above what so many pixels take in colour, stored as they are.
MOST_BYTES = 512 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"
# What Pillow, which reads the head, and OpenCV, which reads the rest, both tell by a file's first bytes.
# Pillow finds other kinds by bytes further on, which a file of another kind may have there, too.
# The first five it loads without the rest of its readers.
HEADS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000", "SUN", "AVIF")
# How EXIF's orientation is undone: mirrored or not, then turned left by so many right angles.
TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}


class TooManyPixelsError(InputError):
    """A picture is larger than was allowed."""


def read_image(image: str | Path | bytes, *, most_pixels: int | None = None) -> np.ndarray:
    """Reads an image file, or standard input for ``-``; its content, not its name, says of what format it is.

    Args:
      image: the file's path, or its content.
      most_pixels: more are refused, and so is a file of a kind whose head can't be read; left out,
        `MOST_PIXELS`, and OpenCV's own limit for such a file.

    Returns:
      uint8 [height, width], upright; 8-bit gray levels are as they were stored.

    Raises:
      InputError: there is no such file, it is no image, is damaged or is too large.
      TooManyPixelsError: it has more pixels than that.
    """
    name, data = ("this", image) if isinstance(image, bytes) else _content(image)
    if _is_cut_png(data):
        raise InputError(f"{name} is cut short or damaged; save it anew as PNG or JPEG")
    with quiet():
        orientation = _check_header(name, data, most_pixels)
        pixels = _decode(data)
    if pixels is None:
        raise _no_image(name)
    mirrored, turns = TURNS.get(orientation, (False, 0))
    gray = to_gray(pixels)
    return np.ascontiguousarray(np.rot90(gray[:, ::-1] if mirrored else gray, turns))


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels, gray or BGR."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def _content(path: str | Path) -> tuple[str, bytes]:
    """What a file is called in messages, and its bytes."""
    if str(path) == "-":
        # It may be closed. One more than are allowed: whoever pipes may never end.
        name, data = "standard input", sys.stdin.buffer.read(MOST_BYTES + 1) if sys.stdin else b""
        if not data:
            raise InputError(f"{name} is empty; pipe an image into it")
    else:
        name, data = str(path), _bytes_of(Path(path))
        if not data:
            raise InputError(f"{name} is empty; save the image anew")
    _check_length(name, len(data))
    return name, data


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder without images; name an image file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; name an image file")
    try:
        with path.open("rb") as file:
            _check_length(str(path), os.fstat(file.fileno()).st_size)
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable image file") from error


def _check_length(name: str, length: int) -> None:
    if length > MOST_BYTES:
        raise InputError(f"{name} is longer than {MOST_BYTES // 2**20} MiB; give a smaller image")


def _is_cut_png(data: bytes) -> bool:
    """Whether a chunk of a PNG file claims more bytes than there are, for which OpenCV would make room."""
    if not data.startswith(PNG):
        return False
    at, name = len(PNG), b""
    # Some programs write more behind the end.
    while at + 8 <= len(data) and name != b"IEND":
        name = data[at + 4 : at + 8]
        # Its length, its name, its content and a CRC.
        at += 4 + 4 + int.from_bytes(data[at : at + 4], "big") + 4
    return at > len(data)


def _check_header(name: str, data: bytes, most_pixels: int | None) -> int:
    """Refuses a huge picture before it is decoded; gives EXIF's orientation, 1 where it is stored upright."""
    most = most_pixels or MOST_PIXELS
    try:
        image = Image.open(io.BytesIO(data), formats=HEADS)
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name} has more than {most:,} pixels; make it smaller") from error
    except (OSError, ValueError, SyntaxError) as error:
        if most_pixels:
            raise _no_image(name) from error
        return 1  # OpenCV knows more formats, and has a limit of its own.
    with image:
        width, height = image.size
        if width * height > most:
            raise TooManyPixelsError(
                f"{name} has {width}x{height} pixels, more than {most:,}; make it smaller"
            )
        try:
            # OpenCV turns TIFF.
            return 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)
        except (OSError, ValueError, SyntaxError):
            return 1


def _no_image(name: str) -> InputError:
    return InputError(f"{name} is no image that OpenCV reads, or is damaged; save it anew as PNG or JPEG")


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
