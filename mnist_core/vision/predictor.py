"""Reads digits in pictures with a trained network."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from mnist_core.data.split import check_images
from mnist_core.errors import UsageError
from mnist_core.runs import load_model
from mnist_core.vision import engines
from mnist_core.vision.answers import Digit
from mnist_core.vision.gray import to_gray
from mnist_core.vision.ink import Look
from mnist_core.vision.normalise import find_ink, to_mnist, views
from mnist_core.vision.page import STROKES, SURE_AGAIN, SURE_ALONE, Page, find_digits
from mnist_core.vision.read import read_image
from mnist_core.vision.sheet import Ink, Sheet


class Predictor:
    """Holds a network with the weights that it has now, ready for images of any number.

    Args:
      run: run directory; left out, the newest finished run under ``log_dir``, else the package's weights.
      model: a network to use instead, from float32 ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``.
      engine: what computes, one of `engines.ENGINES`; digits that touch are read with TensorFlow.

    Raises:
      InputError: there is no such run. UsageError: there is no such engine, it is not installed, or a
        network is given as a run.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        log_dir: str | Path = "logs",
        *,
        model: keras.Model | None = None,
        engine: str = "tensorflow",
    ) -> None:
        if isinstance(run, keras.Model):
            raise UsageError("a network is given by its name: Predictor(model=...)")
        self.run: Path | None = None
        if model is None:
            model, self.run = load_model(run, log_dir)
        self._engine = engines.create(engine, model)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, 10]`` for uint8 ``[n, 28, 28]``, bright ink on black.

        Raises:
          InputError: the images are something else.
        """
        images = np.asarray(images)
        check_images(images)
        return self._engine(images)

    def recognise(self, images: np.ndarray) -> np.ndarray:
        """As `probabilities`, the mean over several `views` of each image, which strangers' writing needs."""
        images = np.asarray(images)
        check_images(images)
        shown = views(images)
        return (
            self.probabilities(shown.reshape(-1, *images.shape[1:]))
            .reshape(*shown.shape[:2], 10)
            .mean(axis=0)
        )

    def read(self, image: str | Path | np.ndarray, *, single: bool = False, look: Look | None = None) -> Page:
        """Reads a picture: a file, or an array as `to_gray` takes it.

        Args:
          single: take it as one digit, also where the network is not sure of it.
          look: how to look at it first, such as at the frame before of a video; the best way to look at a
            picture is half of the work to find.

        Returns:
          The digits; none where nothing is written, or what is written is none.

        Raises:
          InputError: the file can't be read.
        """
        gray = to_gray(image) if isinstance(image, np.ndarray) else read_image(image)
        if look:
            page = self._seen(Sheet.of(gray, look), single=single)
            if page.digits:
                return page
        sheets = Sheet.seen_in(gray)
        return self._likeliest(sheets) if single else self._first_that_shows_digits(sheets)

    def _likeliest(self, sheets: Iterator[Sheet | None]) -> Page:
        """The picture's one digit in the first look that shows it surely; without such a one, in the best."""
        best, others = self._seen(next(sheets), single=True), filter(None, sheets)
        # Each look takes time: none more than needed.
        while best.chance < SURE_ALONE and (sheet := next(others, None)):
            best = max(best, self._seen(sheet, single=True), key=lambda page: page.chance)
        return best

    def _first_that_shows_digits(self, sheets: Iterator[Sheet | None]) -> Page:
        """The digits in the first look that shows some."""
        first = self._seen(next(sheets), single=False)
        if first.digits:
            return first
        for sheet in filter(None, sheets):
            page = find_digits(sheet, self._recognised, again=True)
            if not page.digits:
                page = self._overlooked(sheet, first)
            if page.digits:
                return page
        return first

    def _seen(self, sheet: Sheet | None, *, single: bool) -> Page:
        """The digits of a page, or the one digit of a picture; none where nothing, or none surely, is one."""
        if sheet is None:
            return Page.of([], None)
        if single:
            return self._alone(sheet, 0.0, edges=True)
        page = find_digits(sheet, self._recognised)
        return page if page.digits else self._alone(sheet, SURE_ALONE)

    def _alone(self, sheet: Sheet, least: float, *, edges: bool = False) -> Page:
        """The one digit of a picture; none where it is less likely."""
        ink = find_ink(sheet, edges=edges)
        digits = self._recognised([ink]) if ink else []
        return Page.of([[one for one in digits if one.probability >= least]], sheet)

    def _overlooked(self, sheet: Sheet, first: Page) -> Page:
        """One digit that the first look passed over for something else, such as the light in the middle."""
        # Bright ink where the first look was at dark one is what that encloses, and to pass faint marks over
        # is for pages.
        seen = first.sheet
        is_enclosed = seen and seen.place is sheet.place and seen.look.dark and not sheet.look.dark
        if sheet.look.past_faint or is_enclosed:
            return Page.of([], sheet)
        page = self._alone(sheet, SURE_AGAIN)
        # Where there is paper with nothing on it, a stroke is its edge or the grain of the desk.
        is_stroke = any(one.digit in STROKES for one in page.digits)
        return Page.of([], sheet) if sheet.place.has_paper and is_stroke else page

    def _recognised(self, inks: list[Ink]) -> list[Digit]:
        images = np.stack([to_mnist(ink.strength) for ink in inks])
        return [
            Digit(int(chances.argmax()), float(chances.max()), ink.box, chances, image)
            for ink, image, chances in zip(inks, images, self.recognise(images), strict=True)
        ]
