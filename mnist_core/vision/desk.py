"""The paper that lies on a desk in a picture: straight, sharp edges around it, and another tone beyond."""

from collections.abc import Iterator

import cv2
import numpy as np

from mnist_core.vision.gray import shrink
from mnist_core.vision.parts import square

# Longer side, in pixels, of the copy in which it is looked for.
SIDE = 192
# Levels of tone that may part it from the desk, and changes of tone, as shares, that may be its edges.
LEVELS, EDGES = 8, (0.08, 0.12, 0.18)
# Least and largest share of the picture that it has, and how much of its convex hull it fills.
LEAST, MOST, SOLID = 0.08, 0.92, 0.93
# That has at most so many corners, so near to its outline, a share of that, and so much within them: a disc
# less.
CORNERS, NEAR, STRAIGHT = 6, 0.02, 0.9
# What is so near to the picture's border, in pixels, is at it: a median changes nothing farther away.
BESIDE = 2
# A side is at least so long, as a share of the picture's, and nearly at a right angle to the next.
SHORTEST, MOST_COSINE = 0.1, 0.5
# The two tones differ by so much of 256, so many pixels off the edge on both sides; of that so much is so
# close, where it is neither a line nor a shadow, which fades.
CONTRAST, FAR, CLOSE, SHARP = 20, 6, 3, 0.7
# Where along a side that is looked at, and in how many of these places it must be so.
PLACES, SURE = np.linspace(0.15, 0.85, 9), 0.6
# As shares of the paper's size, how near its tone is taken, coarse to fine, where so much is paper.
REACHES, ENOUGH = (1 / 2, 1 / 4, 1 / 8, 1 / 16), 0.1


def find_paper(gray: np.ndarray) -> np.ndarray | None:
    """Where the paper is: uint8 of a smaller copy, 1 inside; None where the picture shows none on a desk.

    It may lie turned, in a shadow, and reach beyond the picture, but one of its corners is in sight.

    Args:
      gray: uint8 [height, width].
    """
    small = cv2.medianBlur(shrink(gray, SIDE), 3)
    found = [filled for filled in _solid_parts(small) if _is_paper(filled, small)]
    return max(found, key=np.count_nonzero, default=None)


def without_desk(gray: np.ndarray, paper: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The picture of the paper alone, without its edge, if that leaves any: x, y and uint8 [h, w].

    Args:
      gray: uint8 [height, width].
      paper: as `find_paper` gives it.
    """
    edge = 1 + max(cv2.boundingRect(paper)[2:]) * 3 // 100
    # Beyond the picture it may go on.
    paper = cv2.copyMakeBorder(paper, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    paper = cv2.erode(paper, square(2 * edge + 1))[edge:-edge, edge:-edge]
    x, y, width, height = cv2.boundingRect(paper)
    if not width:
        return 0, 0, gray
    paper = np.ascontiguousarray(paper[y : y + height, x : x + width])
    scale = max(gray.shape) / min(SIDE, max(gray.shape))
    left, top = int(x * scale), int(y * scale)
    gray = gray[top : round((y + height) * scale), left : round((x + width) * scale)].copy()
    # What lies beyond its edge would be seen as written, but for the tone that the paper has nearby.
    small = cv2.resize(gray, paper.shape[::-1], interpolation=cv2.INTER_AREA) * paper.astype(np.float32)
    tone = np.full(paper.shape, np.median(small[paper > 0]), np.float32)
    for reach in REACHES:
        window = (2 * int(reach * max(paper.shape)) + 1,) * 2
        share = cv2.blur(paper.astype(np.float32), window)
        near = share > ENOUGH
        tone[near] = cv2.blur(small, window)[near] / share[near]
    desk = cv2.resize(paper, gray.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0
    gray[desk] = cv2.resize(tone, gray.shape[::-1])[desk]
    return left, top, gray


def _solid_parts(gray: np.ndarray) -> Iterator[np.ndarray]:
    """What may be paper: of parts of one tone, and of parts between edges, the large convex ones; filled."""
    low, high = np.quantile(gray[::2, ::2], (0.02, 0.98))
    for level in np.linspace(low, high, LEVELS + 2)[1:-1]:
        yield from _filled((gray > level).astype(np.uint8))
        yield from _filled((gray <= level).astype(np.uint8))
    # A change of light is the same share of any tone.
    edges = 1 - cv2.erode(gray, square(3)) / np.maximum(cv2.dilate(gray, square(3)), np.float32(1))
    for level in EDGES:
        mask = cv2.morphologyEx((edges < level).astype(np.uint8), cv2.MORPH_OPEN, square(3))
        # An edge is as wide as what it was looked for with.
        yield from (cv2.dilate(part, square(3)) for part in _filled(mask))


def _filled(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The convex hulls of parts that are large and nearly fill them, with what they enclose."""
    outlines, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for outline, (*_, parent) in zip(outlines, tree[0] if outlines else (), strict=True):
        area = cv2.contourArea(outline)
        if parent < 0 and LEAST < area / mask.size < MOST:
            hull = cv2.convexHull(outline)
            if area > SOLID * cv2.contourArea(hull):
                yield cv2.drawContours(np.zeros_like(mask), [hull], -1, 1, cv2.FILLED)


def _is_paper(filled: np.ndarray, gray: np.ndarray) -> bool:
    """Whether a convex part has straight, sharp sides, two of which make a corner within the picture."""
    hull = cv2.convexHull(cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0])
    corners = cv2.approxPolyDP(hull, NEAR * cv2.arcLength(hull, True), True)[:, 0]
    if len(corners) > CORNERS or cv2.contourArea(corners) < STRAIGHT * cv2.contourArea(hull):
        return False
    ends = np.roll(corners, -1, axis=0)
    sides = (ends - corners).astype(np.float64)
    length = np.hypot(*sides.T)
    furthest = np.array(gray.shape[::-1]) - 1 - BESIDE
    is_border = ((np.maximum(corners, ends) <= BESIDE) | (np.minimum(corners, ends) >= furthest)).any(axis=1)
    own = ~is_border & (length >= SHORTEST * max(gray.shape))
    cosine = np.abs((sides * np.roll(sides, 1, axis=0)).sum(axis=1)) / (length * np.roll(length, 1))
    if not (own & np.roll(own, 1) & (cosine < MOST_COSINE)).any():
        return False
    # All point inwards, or all outwards.
    normals = (np.stack([sides[:, 1], -sides[:, 0]], axis=1) / length[:, np.newaxis])[own, np.newaxis]
    along = corners[own, np.newaxis] + PLACES[:, np.newaxis] * sides[own, np.newaxis]
    far, close = (_step(gray, along, normals * away) for away in (FAR, CLOSE))
    is_sharp = (np.abs(far) > CONTRAST) & (close * np.sign(far) > SHARP * np.abs(far))
    return bool((is_sharp.mean(axis=1) > SURE).all())


def _step(gray: np.ndarray, points: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Tones at points, [..., 2] of x and y, moved by ``away``, less those where they are moved back."""
    height, width = gray.shape

    def tones(places: np.ndarray) -> np.ndarray:
        x, y = np.moveaxis(np.round(places).astype(int), -1, 0)
        return gray[y.clip(0, height - 1), x.clip(0, width - 1)].astype(np.float64)

    return tones(points + away) - tones(points - away)
