"""Dynamic loss scaling, which keeps float16 gradients from vanishing. Micikevicius et al. 2018."""

from collections.abc import Callable, Sequence

import tensorflow as tf


class LossScale:
    """Halves the scale and skips the step when a gradient overflows; doubles it after many good steps."""

    LEAST = 1.0

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000) -> None:
        self.scale = tf.Variable(initial, trainable=False, dtype=tf.float32, name="loss_scale")
        self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="good_steps")
        self.skipped = tf.Variable(0, trainable=False, dtype=tf.int64, name="skipped_steps")
        self._growth_steps = growth_steps
        self.variables = [self.scale, self._good_steps, self.skipped]

    def unscale(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss itself."""
        return [gradient / self.scale for gradient in gradients]

    def guard(self, norm: tf.Tensor, update: Callable[[], None]) -> None:
        """Runs ``update`` where ``norm``, the gradients' global norm, is finite, and adapts the scale."""

        def good() -> None:
            update()
            grown = self._good_steps + 1 >= self._growth_steps
            self.scale.assign(tf.where(grown, tf.minimum(self.scale * 2, 2.0**24), self.scale))
            self._good_steps.assign(tf.where(grown, tf.constant(0, tf.int64), self._good_steps + 1))

        def overflow() -> None:
            self.scale.assign(tf.maximum(self.scale / 2, self.LEAST))
            self._good_steps.assign(0)
            self.skipped.assign_add(1)

        tf.cond(tf.math.is_finite(norm), good, overflow)
