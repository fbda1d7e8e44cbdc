"""A judge of pieces in the place of the networks, for tests of what is done with a judgement."""

from collections.abc import Callable

import numpy as np

from mnist_core.vision.answers import Answers
from mnist_core.vision.segment import Piece
from mnist_core.vision.strings import Reading

NOTHING = Reading("", 0.0, np.zeros((0, 10), np.float32))


class Judge(Answers):
    """Says how likely each piece is some digit by ``confidence``, and of each string the same.

    Attributes:
      learned: what it was told, in order.
    """

    asked = 0

    def __init__(self, confidence: Callable[[list[Piece]], np.ndarray], reading: Reading = NOTHING) -> None:
        self.confidence = confidence
        self._reading = reading
        self.learned: list[tuple[Piece, np.ndarray]] = []

    def probabilities(self, pieces: list[Piece]) -> np.ndarray:
        return np.repeat(self.confidence(pieces)[:, np.newaxis], 10, axis=1)

    def string(self, piece: Piece) -> Reading:
        return self._reading

    def learn(self, piece: Piece, probabilities: np.ndarray) -> None:
        self.learned.append((piece, probabilities))
