"""Scoring: every image exactly once, whatever the batch size, in one call of the device."""

import keras
import numpy as np
import tensorflow as tf

from mnist_core.data.datasets import Split
from mnist_core.data.idx import release
from mnist_core.metrics import Report, Tally

# A memory-mapped split larger than this is scored piece by piece.
PIECE = 65536


class Evaluator:
    """Scores splits with a model, as one `tf.function` with one trace."""

    def __init__(self, model: keras.Model, batch_size: int = 1000) -> None:
        self._model = model
        self._batch_size = tf.constant(min(batch_size, PIECE))
        signature = (tf.TensorSpec([None, 28, 28], tf.uint8), tf.TensorSpec([], tf.int32))
        self.function = tf.function(self._logits, input_signature=signature)

    def __call__(self, split: Split) -> Report:
        """Counts loss, errors and all that follows from them over ``split``."""
        tally = Tally()
        for begin in range(0, len(split), PIECE):
            images = np.ascontiguousarray(split.images[begin : begin + PIECE])
            tally.add(self.logits(images), split.labels[begin : begin + PIECE])
            release(split.images)
        return tally.report()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[n, 10]`` of uint8 ``[n, 28, 28]``."""
        return self.function(images, self._batch_size).numpy()

    def _logits(self, images: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        batches = (count + batch_size - 1) // batch_size
        logits = tf.TensorArray(tf.float32, size=batches, infer_shape=False, element_shape=[None, 10])
        for i in tf.range(batches):
            batch = images[i * batch_size : (i + 1) * batch_size, ..., tf.newaxis]
            outputs = self._model(tf.cast(batch, tf.float32) / 255.0, training=False)
            logits = logits.write(i, tf.cast(outputs, tf.float32))
        return logits.concat()
