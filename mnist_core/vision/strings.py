"""Digits that touch, read together: what a network sees in each column of them, and what that may spell.

That needs no cut between them. The network is one of the package's own, the recipe ``strings``.
"""

import collections
import dataclasses
import functools
import threading

import keras
import numpy as np
import tensorflow as tf

from mnist_core.data.strings import HEIGHT, WIDTH
from mnist_core.runs import STRINGS, load_model
from mnist_core.vision.normalise import boxed, views
from mnist_core.vision.sheet import Ink

# A frame is as wide as what it shows, beside margins, but no more.
MARGIN, WIDEST = 4, 720
# Of each view so many texts are looked at, the likeliest; of so many beginnings.
TEXTS, BEAMS = 8, 16

# Several threads may ask at once.
_making = threading.Lock()


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """What a string may say.

    Attributes:
      text: the likeliest, of this ``probability``.
      probabilities: float32 ``[len(text), 10]`` for each of its digits, the other texts of that length
        considered, too; what a row lacks to 1 is the chance of another length.
    """

    text: str
    probability: float
    probabilities: np.ndarray


class StringReader:
    """Reads digits side by side.

    Args:
      model: a `StringNet`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        signature = [tf.TensorSpec([None, HEIGHT, None], tf.uint8)]
        self._function = tf.function(self._columns, input_signature=signature, autograph=False)

    def __call__(self, frame: np.ndarray) -> Reading:
        """What uint8 ``[HEIGHT, width]`` says, bright ink on black, as `to_frame` makes it."""
        columns = self._function(views(frame[np.newaxis])[:, 0])
        lengths = tf.fill([columns.shape[1]], columns.shape[0])
        found, chances = tf.nn.ctc_beam_search_decoder(columns, lengths, BEAMS, TEXTS)
        totals: collections.Counter[str] = collections.Counter()
        for sparse, shares in zip(found, np.exp(chances.numpy()).T, strict=True):
            texts = [""] * len(shares)
            for (view, _), digit in zip(sparse.indices.numpy(), sparse.values.numpy(), strict=True):
                texts[view] += str(digit)
            for text, share in zip(texts, shares, strict=True):
                totals[text] += float(share) / len(shares)
        return _reading(totals)

    def _columns(self, frames: tf.Tensor) -> tf.Tensor:
        """float32 ``[columns, n, 11]``, logarithms of probabilities."""
        logits = self._model.columns(tf.cast(frames[..., tf.newaxis], tf.float32) / 255.0)
        return tf.transpose(tf.nn.log_softmax(tf.cast(logits, tf.float32)), [1, 0, 2])


def reader() -> StringReader:
    """The one with the weights that come with the package, made when it is first asked for."""
    with _making:
        return _shipped()


@functools.cache
def _shipped() -> StringReader:
    return StringReader(load_model(STRINGS)[0])


def to_frame(ink: Ink) -> np.ndarray:
    """Scales ink to the height of a digit, in the middle of a frame; uint8 [HEIGHT, WIDTH or more]."""
    strength = boxed(ink.strength, WIDEST)
    height, width = strength.shape
    frame = np.zeros((HEIGHT, max(WIDTH, width + 2 * MARGIN)), np.uint8)
    top, left = (HEIGHT - height) // 2, (frame.shape[1] - width) // 2
    frame[top : top + height, left : left + width] = np.round(strength * 255)
    return frame


def _reading(chances: collections.Counter[str]) -> Reading:
    ((text, chance),) = chances.most_common(1)
    probabilities = np.zeros((len(text), 10), np.float32)
    for other, share in chances.items():
        if len(other) == len(text):
            probabilities[np.arange(len(text)), [int(digit) for digit in other]] += share
    return Reading(text, chance, probabilities)
