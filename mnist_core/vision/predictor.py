"""Reads digits in pictures with a trained network."""

import dataclasses
import itertools
from pathlib import Path

import keras
import numpy as np

from mnist_core.runs import load_model
from mnist_core.vision import engines
from mnist_core.vision.normalise import find_ink, to_mnist, views
from mnist_core.vision.page import SURE_ALONE, find_rows
from mnist_core.vision.read import read_image, to_gray
from mnist_core.vision.sheet import Box, Ink, Sheet


@dataclasses.dataclass(frozen=True, eq=False)
class Digit:
    """A digit that was read.

    Attributes:
      digit: the most probable one, of this ``probability``.
      box: x, y, width, height in the picture's pixels.
      probabilities: float32 ``[10]``, the mean over some views of the image.
      image: uint8 ``[28, 28]``, what the network saw, a little narrower and slanted.
    """

    digit: int
    probability: float
    box: Box
    probabilities: np.ndarray
    image: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
    """What is written in a picture: its digits in reading order, and as text."""

    digits: tuple[Digit, ...]
    text: str


class Predictor:
    """Holds a network with the weights that it has now, ready for images of any number.

    Args:
      run: run directory; left out, the newest finished run under ``log_dir``.
      model: a network to use instead, from float32 ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``.
      engine: what computes, one of `engines.ENGINES`.

    Raises:
      InputError: there is no such run. UsageError: there is no such engine, or it is not installed.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        log_dir: str | Path = "logs",
        *,
        model: keras.Model | None = None,
        engine: str = "tensorflow",
    ) -> None:
        self.run: Path | None = None
        if model is None:
            model, self.run = load_model(run, log_dir)
        self._engine = engines.create(engine, model)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, 10]`` for uint8 ``[n, 28, 28]``, bright ink on black."""
        return self._engine(images)

    def recognise(self, images: np.ndarray) -> np.ndarray:
        """As `probabilities`, the mean over several `views` of each image, which strangers' writing needs."""
        shown = views(images)
        return (
            self.probabilities(shown.reshape(-1, *images.shape[1:]))
            .reshape(*shown.shape[:2], 10)
            .mean(axis=0)
        )

    def read(self, image: str | Path | np.ndarray, *, single: bool = False) -> Page:
        """Reads a picture: a file, or an array as `to_gray` takes it.

        Args:
          single: take it as one digit, also where the network is not sure of it.

        Returns:
          The digits; none where nothing is written, or what is written is none.

        Raises:
          InputError: the file can't be read.
        """
        gray = to_gray(image) if isinstance(image, np.ndarray) else read_image(image)
        sheet = Sheet.of(gray)
        if sheet is None:
            return Page((), "")
        rows = [] if single else find_rows(sheet, self._confidence)
        if not rows and (ink := find_ink(sheet)):
            rows = [[ink]]
        read = [self._recognised(row) for row in rows]
        if not single and len(read) == 1 and len(read[0]) == 1 and read[0][0].probability < SURE_ALONE:
            read = []
        text = "\n".join("".join(str(one.digit) for one in row) for row in read)
        return Page(tuple(itertools.chain(*read)), text)

    def _recognised(self, inks: list[Ink]) -> list[Digit]:
        images = np.stack([to_mnist(ink.strength) for ink in inks])
        return [
            Digit(int(chances.argmax()), float(chances.max()), ink.box, chances, image)
            for ink, image, chances in zip(inks, images, self.recognise(images), strict=True)
        ]

    def _confidence(self, inks: list[Ink]) -> np.ndarray:
        """float32 [n], the probability of the likeliest digit of each."""
        images = np.stack([to_mnist(ink.strength) for ink in inks])
        return self.recognise(images).max(axis=1)
