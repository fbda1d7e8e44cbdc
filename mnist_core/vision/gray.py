"""Gray levels of pixels in any form: 16 bits or floats, colours, ink that is only in the transparency."""

from collections.abc import Iterator

import cv2
import numpy as np

from mnist_core.errors import InputError

# Rows of so many pixels in all are computed at a time, for floats take much room.
STRIP = 1_000_000


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
    height, width = small.shape[:2]
    # A frame would tell of itself.
    small = small[height // 16 : height - height // 16, width // 16 : width - width // 16]
    contrasts = [_contrast(channel) for channel in cv2.split(small)]
    if max(contrasts) > 1.5 * _contrast(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)):
        return cv2.extractChannel(pixels, int(np.argmax(contrasts)))
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pixels, gray or in colour, with the longer side at most ``side``, by area averaging."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = [max(1, round(n * scale)) for n in (width, height)]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def enlarged(
    box: tuple[int, int, int, int], copy: np.ndarray, pixels: np.ndarray
) -> tuple[int, int, int, int]:
    """A box of a copy that `shrink` made, x, y, width and height, in the pixels that it was made of."""
    x, y, width, height = box
    scale = max(pixels.shape[:2]) / max(copy.shape[:2])
    left, top = int(x * scale), int(y * scale)
    right = min(pixels.shape[1], round((x + width) * scale))
    bottom = min(pixels.shape[0], round((y + height) * scale))
    return left, top, max(1, right - left), max(1, bottom - top)


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

    low = high = 0.0
    for rows in _strips(pixels):
        strip = pixels[rows].astype(np.float32)
        low = min(low, float(strip.min(initial=0.0, where=np.isfinite(strip))))
        high = max(high, float(strip.max(initial=0.0, where=np.isfinite(strip))))
    # Cameras store 10 or 12 bits in 16, and floats go to 1, 255 or 65535.
    full = 2.0 ** np.ceil(np.log2(high - low + 1)) - 1
    levels = np.empty(pixels.shape, np.uint8)
    for rows in _strips(pixels):
        strip = np.nan_to_num(pixels[rows].astype(np.float32), nan=0.0, posinf=high, neginf=low)
        levels[rows] = np.round((strip - low) * (255 / max(full, 1.0)))
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
