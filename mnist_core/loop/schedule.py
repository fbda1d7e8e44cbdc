"""The learning rate as a function of the global step, inside the graph."""

import math
from collections.abc import Callable

import tensorflow as tf

from mnist_core.config import Config
from mnist_core.errors import UsageError

# From the step, int64 scalar from 0, to the learning rate, float32 scalar.
Schedule = Callable[[tf.Tensor], tf.Tensor]


def constant(peak: float) -> Schedule:
    """The peak, always."""
    return lambda step: tf.constant(peak, tf.float32)


def cosine(peak: float, total_steps: int, warmup_steps: int) -> Schedule:
    """Linear warm-up, then half a cosine down to 0. Loshchilov & Hutter 2017, without restarts."""

    def rate(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        up = (step + 1) / max(warmup_steps, 1)
        down = _half_cosine((step - warmup_steps) / max(total_steps - warmup_steps, 1))
        return peak * tf.where(step < warmup_steps, up, down)

    return rate


def onecycle(
    peak: float, total_steps: int, warmup_steps: int, start: float = 1 / 25, end: float = 1e-4
) -> Schedule:
    """From ``start`` times the peak up to it, down to ``end`` times it, by cosines. Smith & Topin 2018."""

    def rate(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        up = 1 + (start - 1) * _half_cosine(step / max(warmup_steps, 1))
        down = end + (1 - end) * _half_cosine((step - warmup_steps) / max(total_steps - warmup_steps, 1))
        return peak * tf.where(step < warmup_steps, up, down)

    return rate


def from_config(config: Config, total_steps: int) -> Schedule:
    """The schedule of a run of ``total_steps`` steps."""
    warmup_steps = round(config.warmup * total_steps)
    if config.schedule == "constant":
        return constant(config.lr)
    if config.schedule == "cosine":
        return cosine(config.lr, total_steps, warmup_steps)
    return onecycle(config.lr, total_steps, warmup_steps)


def _half_cosine(progress: tf.Tensor) -> tf.Tensor:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))


def checked(rates: Schedule) -> Schedule:
    """A schedule that somebody brings, in float32.

    Raises:
      UsageError: it gives no number for a step.
    """

    def rate(step: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.cast(rates(step), tf.float32), [])

    try:
        rate(tf.constant(0, tf.int64))
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise UsageError(f"rates must give the learning rate of a step, an int64 scalar: {why}") from error
    return rate
