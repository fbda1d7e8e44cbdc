"""Reads image files of any kind as upright gray pixels, or says in one line why that can't be done."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from mnist_core.errors import InputError
from mnist_core.vision.quiet import quiet

# Above most cameras', and below what would fill a computer's memory: 10,000 x 10,000.
MOST_PIXELS = 100_000_000
# Above what so many pixels take in colour, stored as they are.
MOST_BYTES = 512 * 2**20
# Rows of so many pixels in all are computed at a time, for floats take much room.
STRIP = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n"


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
        upright = _check_header(name, data, most_pixels)
        pixels = _decode(data, cv2.IMREAD_UNCHANGED)
        if not upright and pixels is not None and _channels(pixels) != 4:
            # OpenCV turns only pictures that it may also convert.
            pixels = _decode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if pixels is None:
        raise _no_image(name)
    return to_gray(pixels)


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """Makes uint8 [height, width] of pixels as OpenCV holds them, keeping the ink apart from the paper.

    Args:
      pixels: [height, width], or [height, width, 1, 3 or 4] as gray, BGR or BGRA; of any numeric dtype.

    Raises:
      InputError: the array has another shape or holds no numbers.
    """
    pixels = np.asarray(pixels)
    shape, dtype = pixels.shape, pixels.dtype
    if (
        not pixels.size
        or dtype.kind not in "buif"
        or len(shape) not in (2, 3)
        or _channels(pixels) not in (1, 3, 4)
    ):
        raise InputError(
            f"an image is numbers [height, width] or [height, width, 1, 3 or 4], not {dtype} {shape}"
        )
    pixels = np.ascontiguousarray(_as_bytes(pixels))
    if _channels(pixels) == 4:
        pixels = _without_alpha(pixels)
    if _channels(pixels) == 1:
        return pixels.reshape(pixels.shape[:2])
    # Yellow on white, or red on green of the same lightness, shows in one of the colours only.
    small = shrink(pixels, 96)
    contrasts = [_contrast(channel) for channel in cv2.split(small)]
    if max(contrasts) > 1.5 * _contrast(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)):
        return cv2.extractChannel(pixels, int(np.argmax(contrasts)))
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels, gray or BGR."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pixels, gray or in colour, with the longer side at most ``side``, by area averaging."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = [max(1, round(n * scale)) for n in (width, height)]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _content(path: str | Path) -> tuple[str, bytes]:
    """What a file is called in messages, and its bytes."""
    if str(path) == "-":
        # One more than are allowed: whoever pipes may never end.
        name, data = "standard input", sys.stdin.buffer.read(MOST_BYTES + 1)
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
        raise InputError(f"{path} is a folder; name the image files in it")
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
    at = len(PNG)
    while at + 8 <= len(data):
        # Its length, its name, its content and a CRC.
        at += 4 + 4 + int.from_bytes(data[at : at + 4], "big") + 4
    return at > len(data)


def _check_header(name: str, data: bytes, most_pixels: int | None) -> bool:
    """Refuses a huge picture before it is decoded; gives whether it is stored upright."""
    most = most_pixels or MOST_PIXELS
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name} has more than {most:,} pixels; make it smaller") from error
    except (OSError, ValueError, SyntaxError) as error:
        if most_pixels:
            raise _no_image(name) from error
        return True  # OpenCV knows more formats, and has a limit of its own.
    with image:
        width, height = image.size
        if width * height > most:
            raise TooManyPixelsError(
                f"{name} has {width}x{height} pixels, more than {most:,}; make it smaller"
            )
        try:
            return image.format == "TIFF" or image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        except (OSError, ValueError, SyntaxError):
            return True


def _no_image(name: str) -> InputError:
    return InputError(f"{name} is no image that OpenCV reads, or is damaged; save it anew as PNG or JPEG")


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _channels(pixels: np.ndarray) -> int:
    return 1 if pixels.ndim == 2 else pixels.shape[2]


def _strips(pixels: np.ndarray) -> Iterator[slice]:
    """Rows of at most `STRIP` pixels, but at least one."""
    rows = max(1, STRIP // pixels.shape[1])
    return (slice(begin, begin + rows) for begin in range(0, len(pixels), rows))


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Scales to uint8 from the smallest range 0..1, 3, 7 ... 255 ... 65535 that holds all values."""
    if pixels.dtype == np.uint8:
        return pixels

    def finite(rows: slice) -> np.ndarray:
        return np.nan_to_num(pixels[rows].astype(np.float32), posinf=0, neginf=0)

    low = min(0.0, *(float(finite(rows).min()) for rows in _strips(pixels)))
    high = max(float(finite(rows).max()) for rows in _strips(pixels)) - low
    # Cameras store 10 or 12 bits in 16, and floats go to 1, 255 or 65535.
    full = 2.0 ** np.ceil(np.log2(high + 1)) - 1
    levels = np.empty(pixels.shape, np.uint8)
    for rows in _strips(pixels):
        levels[rows] = np.round((finite(rows) - low) * (255 / max(full, 1.0)))
    return levels


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    """Lays a partly transparent picture on a ground from which its ink stands out; uint8 BGR or gray.

    Args:
      pixels: uint8 [height, width, 4], BGRA.
    """
    alpha = pixels[..., 3]
    if alpha.min() == alpha.max():
        return pixels[..., :3].copy()
    # Some pixels tell the colours of all.
    step = max(1, int((alpha.size / STRIP) ** 0.5))
    some = pixels[::step, ::step].astype(np.float32)
    colour, weight = some[..., :3], some[..., 3:] / 255
    opaque = weight[..., 0] > 0.5
    if not opaque.any() or np.ptp(np.percentile(colour[opaque], [0.1, 99.9], axis=0), axis=0).max() < 40:
        # One colour all over: what is drawn is drawn in the transparency.
        return 255 - alpha
    mean = float((colour * weight).sum() / weight.sum() / 3)
    away_from_ink = 255.0 if mean < 128 else 0.0
    # What is mostly opaque brings its own paper.
    ground = np.median(colour[opaque], axis=0) if opaque.mean() > 0.5 else away_from_ink
    flat = np.empty((*alpha.shape, 3), np.uint8)
    for rows in _strips(pixels):
        weight = pixels[rows, :, 3:].astype(np.float32) / 255
        flat[rows] = np.round(pixels[rows, :, :3] * weight + ground * (1 - weight))
    return flat


def _contrast(gray: np.ndarray) -> float:
    """How much the most distinct pixels differ from their wide surroundings; uneven light counts little."""
    surroundings = cv2.medianBlur(gray, max(gray.shape) // 2 | 1)
    return float(np.percentile(cv2.absdiff(gray, surroundings), 98))
