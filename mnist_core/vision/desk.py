"""The paper that lies on a desk in a picture: straight, sharp edges around it, and another tone beyond."""

from collections.abc import Iterator

import cv2
import numpy as np

from mnist_core.vision.gray import enlarged, shrink
from mnist_core.vision.parts import square

# Longer side, in pixels, of the copy in which it is looked for; strokes of a smaller picture are too wide.
SIDE = 192
# Changes of tone, as shares, that may be its edges.
EDGES = (0.06, 0.1, 0.15, 0.22)
# Least share of the picture that it has.
LEAST = 0.08
# Its corners are so near to its outline, a share of that, and what is so near to the picture's border, in
# pixels, is at it: a median changes nothing farther away.
NEAR, AT_BORDER = 0.02, 2
# Along a side it is looked at here, and in so many of these places it must be an edge.
PLACES, SURE = np.linspace(0.15, 0.85, 9), 0.6
# There the two tones differ by so much of 256, so many pixels off on both sides, and of that so much is so
# close, where it is neither a line nor a shadow, which fades.
CONTRAST, FAR, CLOSE, SHARP = 10, 6, 3, 0.7
# As shares of the paper's size, how near its tone is taken, coarse to fine, where so much is paper.
REACHES, ENOUGH = (1 / 2, 1 / 4, 1 / 8, 1 / 16), 0.1


def find_paper(gray: np.ndarray) -> np.ndarray | None:
    """Where the paper is: uint8 of a smaller copy, 1 inside; None where the picture shows none on a desk.

    It may lie turned, in a shadow, and reach beyond the picture, but one of its corners is in sight. In small
    pictures it is not looked for.

    Args:
      gray: uint8 [height, width].
    """
    if max(gray.shape) < SIDE:
        return None
    small = cv2.medianBlur(shrink(gray, SIDE), 3)
    return max((part for part in _parts(small) if _is_paper(part, small)), key=np.count_nonzero, default=None)


def without_desk(gray: np.ndarray, paper: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The picture of the paper alone, without its edge: x, y and uint8 [h, w].

    Args:
      gray: uint8 [height, width].
      paper: as `find_paper` gives it.
    """
    edge = 1 + max(cv2.boundingRect(paper)[2:]) * 3 // 100
    # Beyond the picture it may go on, but a sliver of the desk may show at the border.
    beyond = cv2.copyMakeBorder(paper, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    inner = cv2.erode(beyond, square(2 * edge + 1))[edge:-edge, edge:-edge]
    inner[[0, -1]] = inner[:, [0, -1]] = 0
    paper = inner if inner.any() else paper
    box = x, y, width, height = cv2.boundingRect(paper)
    left, top, across, down = enlarged(box, paper, gray)
    gray = gray[top : top + down, left : left + across].copy()
    paper = np.ascontiguousarray(paper[y : y + height, x : x + width])
    # What lies beyond its edge would be seen as written, but for the tone that the paper has nearby.
    small = cv2.resize(gray, paper.shape[::-1], interpolation=cv2.INTER_AREA) * paper.astype(np.float32)
    tone = np.full(paper.shape, np.median(small[paper > 0]), np.float32)
    for reach in REACHES:
        window = (2 * int(reach * max(paper.shape)) + 1,) * 2
        share = cv2.blur(paper.astype(np.float32), window)
        near = share > ENOUGH
        tone[near] = cv2.blur(small, window)[near] / share[near]
    desk = cv2.resize(paper, gray.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0
    gray[desk] = cv2.resize(np.uint8(tone), gray.shape[::-1])[desk]
    return left, top, gray


def _parts(gray: np.ndarray) -> Iterator[np.ndarray]:
    """What may be paper: the convex hulls of large parts whose edges are sharper than what is within."""
    # A change of light is the same share of any tone.
    change = 1 - cv2.erode(gray, square(3)) / np.maximum(cv2.dilate(gray, square(3)), np.float32(1))
    for edge in EDGES:
        even = cv2.morphologyEx((change < edge).astype(np.uint8), cv2.MORPH_OPEN, square(3))
        outlines, tree = cv2.findContours(even, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for outline, (*_, parent) in zip(outlines, tree[0] if outlines else (), strict=True):
            if parent >= 0 or cv2.contourArea(outline) <= LEAST * even.size:
                continue
            # What is written near an edge may cut into it.
            part = cv2.drawContours(np.zeros_like(even), [cv2.convexHull(outline)], -1, 1, cv2.FILLED)
            # An edge is as wide as what it was looked for with.
            yield cv2.dilate(part, square(3))


def _is_paper(part: np.ndarray, gray: np.ndarray) -> bool:
    """Whether a convex part has sharp edges, but at the picture's border, and a corner that is in sight."""
    hull = cv2.convexHull(cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0])
    corners = cv2.approxPolyDP(hull, NEAR * cv2.arcLength(hull, True), True)[:, 0]
    ends = np.roll(corners, -1, axis=0)
    furthest = np.array(gray.shape[::-1]) - 1 - AT_BORDER
    is_border = (np.maximum(corners, ends) <= AT_BORDER) | (np.minimum(corners, ends) >= furthest)
    own = ~is_border.any(axis=1)
    if not (own & np.roll(own, 1)).any():
        return False
    sides = (ends - corners).astype(np.float64)[own, np.newaxis]
    normals = np.stack([sides[..., 1], -sides[..., 0]], axis=-1)
    normals /= np.linalg.norm(sides, axis=-1, keepdims=True)
    along = corners[own, np.newaxis] + PLACES[:, np.newaxis] * sides
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
