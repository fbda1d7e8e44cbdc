"""Random numbers inside a step: a pure function of (seed, global step, image in the batch).

They are drawn for every image of the step's whole batch and then taken for the images at hand, so that
neither the block size nor a resume, a micro-batch or the number of replicas changes what an image gets.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence

import tensorflow as tf

_current: contextvars.ContextVar["StepRandom | None"] = contextvars.ContextVar("step_random", default=None)


class StepRandom:
    """The draws of one step, in the order in which they are asked for.

    Args:
      seed: the run's seed.
      step: int64 scalar, the global step.
      size: int32 scalar, images in the whole batch of the step.
      rows: int32 ``[n]``, the places in that batch of the images at hand.
    """

    def __init__(self, seed: int, step: tf.Tensor, size: tf.Tensor, rows: tf.Tensor) -> None:
        self._key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        self._size = size
        self._rows = rows
        self._streams = 0

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        """float32 ``[n, *shape]`` in ``[low, high)``, the same numbers with XLA and without."""
        # tf.random.stateless_uniform makes other floats of the same bits under XLA.
        draws = tf.cast(tf.bitwise.right_shift(self._words(shape), 8), tf.float32) * 2.0**-24
        return low + (high - low) * draws

    def keep(self, shape: Sequence[int], rate: float) -> tf.Tensor:
        """bool ``[n, *shape]``, False with probability ``rate``, which is rounded to 1/65536."""
        # Two decisions from each word: the draws are what a mask costs.
        count = math.prod(shape)
        halves = tf.bitcast(self._words([-(-count // 2)]), tf.uint16)
        halves = tf.reshape(halves, [-1, count + count % 2])[:, :count]
        return tf.reshape(halves >= min(round(rate * 65536), 65535), [-1, *shape])

    def _words(self, shape: Sequence[int]) -> tf.Tensor:
        """uint32 ``[n, *shape]`` of a stream of its own."""
        key = tf.random.experimental.stateless_fold_in(self._key, self._streams, alg="philox")
        self._streams += 1
        words = tf.random.stateless_uniform(
            [self._size, *shape], key, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
        )
        return tf.gather(words, self._rows)


@contextlib.contextmanager
def step_random(random: StepRandom) -> Iterator[StepRandom]:
    """Makes ``random`` what `current_random` returns to the layers called inside."""
    token = _current.set(random)
    try:
        yield random
    finally:
        _current.reset(token)


def current_random() -> StepRandom | None:
    """The draws of the step being traced; None outside of one."""
    return _current.get()
