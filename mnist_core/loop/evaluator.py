"""Scoring: every image exactly once, whatever the batch size, a piece of a split in a call of the device."""

import math

import keras
import numpy as np
import tensorflow as tf

from mnist_core.data.augment import warp
from mnist_core.data.idx import release
from mnist_core.data.split import Split
from mnist_core.metrics import Report, Tally

# Turned by so many degrees, clockwise, and so many times as large: the views of test-time augmentation.
VIEWS = ((0.0, 1.0), (6.0, 1.0), (-6.0, 1.0), (0.0, 1.07), (0.0, 0.93))
# Images in a piece: a split may be larger than the device's memory.
PIECE = 65536


class Evaluator:
    """Scores splits with a model, as one `tf.function` with one trace.

    Args:
      batch_size: images in one call of the model.
      tta: the probabilities are the mean over `VIEWS` of each image.
    """

    def __init__(self, model: keras.Model, batch_size: int = 1000, *, tta: bool = False) -> None:
        self._model = model
        self._tta = tta
        self._batch_size = tf.constant(min(batch_size, PIECE))
        signature = (tf.TensorSpec([None, 28, 28], tf.uint8), tf.TensorSpec([], tf.int32))
        self.function = tf.function(self._logits, input_signature=signature)

    def __call__(self, split: Split) -> Report:
        """Scores every image of ``split`` once."""
        tally = Tally()
        for begin in range(0, len(split), PIECE):
            images = np.ascontiguousarray(split.images[begin : begin + PIECE])
            tally.add(self.logits(images), split.labels[begin : begin + PIECE])
            release(split.images)
        return tally.report()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, 10]`` of uint8 ``[n, 28, 28]``; of views, the logarithm of their mean softmax."""
        return self.function(images, self._batch_size).numpy()

    def _logits(self, images: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        batches = (count + batch_size - 1) // batch_size
        logits = tf.TensorArray(tf.float32, size=batches, infer_shape=False, element_shape=[None, 10])
        for i in tf.range(batches):
            batch = images[i * batch_size : (i + 1) * batch_size, ..., tf.newaxis]
            logits = logits.write(i, self._batch_logits(tf.cast(batch, tf.float32) / 255.0))
        return logits.concat()

    def _batch_logits(self, images: tf.Tensor) -> tf.Tensor:
        if not self._tta:
            return tf.cast(self._model(images, training=False), tf.float32)
        shown = [warp(images, _view(images.shape[1], *view)) for view in VIEWS]
        logits = [tf.cast(self._model(each, training=False), tf.float32) for each in shown]
        return tf.reduce_logsumexp(tf.nn.log_softmax(tf.stack(logits)), axis=0) - math.log(len(VIEWS))


def _view(side: int, degrees: float, scale: float) -> tf.Tensor:
    """float32 ``[1, 8]``: the projective row that maps a view's pixels to an image's, about the centre."""
    centre = (side - 1) / 2
    cos, sin = (function(math.radians(degrees)) / scale for function in (math.cos, math.sin))
    x, y = centre * (1 - cos - sin), centre * (1 - cos + sin)
    return tf.constant([[cos, sin, x, -sin, cos, y, 0.0, 0.0]])
