"""What a network gets of a picture of one digit: no test."""

import numpy as np

from mnist_core.vision.normalise import find_ink, to_mnist
from mnist_core.vision.sheet import Sheet


def normalise(gray: np.ndarray) -> np.ndarray | None:
    """uint8 [28, 28] of uint8 [height, width], as a `Predictor` makes it; None where nothing is written."""
    sheet = Sheet.of(gray)
    ink = sheet and find_ink(sheet)
    return to_mnist(ink.strength) if ink else None
