"""What the networks say of the pieces of a page."""

import dataclasses
from collections.abc import Callable

import numpy as np

from mnist_core.vision import strings
from mnist_core.vision.segment import Piece
from mnist_core.vision.sheet import Box, Ink, Sheet


@dataclasses.dataclass(frozen=True, eq=False)
class Digit:
    """A digit that was read.

    Attributes:
      digit: the most probable one, of this ``probability``.
      box: x, y, width, height in the picture's pixels.
      probabilities: float32 ``[10]``, the mean over some views of the image. Of one of several digits that
        touch they are those of a `Reading`, and may add up to less than 1.
      image: uint8 ``[28, 28]`` as MNIST shows digits; the network was asked about `views` of it, or of what
        the digit touches, too.
    """

    digit: int
    probability: float
    box: Box
    probabilities: np.ndarray
    image: np.ndarray


Recognise = Callable[[list[Ink]], list[Digit]]


class Answers:
    """What the networks say of the pieces of a sheet; for single digits one is asked once about each."""

    def __init__(self, sheet: Sheet, recognise: Recognise) -> None:
        self._sheet, self._recognise = sheet, recognise
        self._known: dict[Piece, Digit] = {}

    @property
    def asked(self) -> int:
        return len(self._known)

    def digits(self, pieces: list[Piece]) -> list[Digit]:
        """The digit that each piece most likely is."""
        unknown = [piece for piece in pieces if piece not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._recognise(self._inks(unknown)), strict=True))
        return [self._known[piece] for piece in pieces]

    def probabilities(self, pieces: list[Piece]) -> np.ndarray:
        return np.array([digit.probabilities for digit in self.digits(pieces)])

    def confidence(self, pieces: list[Piece]) -> np.ndarray:
        return np.array([digit.probability for digit in self.digits(pieces)])

    def string(self, piece: Piece) -> strings.Reading:
        """What it says if it is several digits."""
        (ink,) = self._inks([piece])
        return strings.reader()(strings.to_frame(ink))

    def learn(self, piece: Piece, probabilities: np.ndarray) -> None:
        (digit,) = self.digits([piece])
        self._known[piece] = dataclasses.replace(
            digit,
            digit=int(probabilities.argmax()),
            probability=float(probabilities.max()),
            probabilities=probabilities,
        )

    def _inks(self, pieces: list[Piece]) -> list[Ink]:
        return [self._sheet.cut(piece.mask, piece.x, piece.y) for piece in pieces]
