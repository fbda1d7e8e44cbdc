"""Optimizers of the loop: our SGD, and any Keras optimizer in its place.

`apply` runs on every replica, with gradients that were already summed over all of them, and changes that
replica's own copy of the variables.
"""

from collections.abc import Sequence
from typing import Protocol

import keras
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.errors import UsageError
from mnist_core.loop.schedule import Schedule


class Optimizer(Protocol):
    """What the loop asks of an optimizer. ``variables`` are kept in checkpoints."""

    variables: Sequence[tf.Variable]

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes what is kept for each of the model's trainable variables."""

    def learning_rate(self, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """float32 scalar: the rate of this step, int64 from 0."""

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Moves the variables against ``gradients``, in the order given to `build`."""


class SGD:
    """Stochastic gradient descent with momentum, Nesterov's momentum and decoupled weight decay.

    v <- momentum * v - lr * g, then w <- w + v, or with Nesterov w <- w + momentum * v - lr * g: Keras's
    update (Sutskever et al. 2013) by TensorFlow's fused kernel. Kernels (rank >= 2) first lose the share
    lr * weight_decay (Loshchilov & Hutter 2019); biases and normalisation do not decay.
    """

    def __init__(self, momentum: float = 0.9, nesterov: bool = True, weight_decay: float = 0.0) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.variables: list[tf.Variable] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a velocity for each variable."""
        self._weights = [variable.value for variable in variables]
        self._constraints = [variable.constraint for variable in variables]
        self.variables = [
            tf.Variable(tf.zeros_like(weight), trainable=False, name="velocity") for weight in self._weights
        ]

    def learning_rate(self, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """float32 scalar: the rate of this step."""
        return schedule(step)

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Moves the variables against ``gradients``, in the order given to `build`."""
        for weight, constraint, velocity, gradient in zip(
            self._weights, self._constraints, self.variables, gradients, strict=True
        ):
            if self.weight_decay and len(weight.shape) > 1:
                weight.assign_sub(learning_rate * self.weight_decay * weight)
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=weight.handle,
                accum=velocity.handle,
                lr=learning_rate,
                grad=gradient,
                momentum=self.momentum,
                use_nesterov=self.nesterov,
            )
            if constraint is not None:
                weight.assign(constraint(weight.read_value()))


class KerasOptimizer:
    """Lets a ``keras.optimizers.Optimizer`` stand in for `SGD`.

    Args:
      scheduled: the loop's schedule sets its learning rate; else it keeps its own.

    Raises:
      UsageError: it scales the loss, or averages weights, as the loop does, already belongs to another model,
        or has a schedule of its own where the loop's is to set its rate.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, *, scheduled: bool = False) -> None:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise UsageError("the loop scales the loss of mixed_float16 itself; pass the inner optimizer")
        if optimizer.loss_scale_factor:
            raise UsageError("the loop scales no loss for an optimizer; leave its loss_scale_factor out")
        if optimizer.use_ema and not optimizer.ema_overwrite_frequency:
            raise UsageError(
                "the loop averages weights itself; set --ema in place of the optimizer's use_ema"
            )
        if optimizer.built:
            raise UsageError(f"optimizer {optimizer.name} already belongs to a model; make a new one")
        if scheduled and isinstance(
            optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            raise UsageError(f"optimizer {optimizer.name} has a schedule of its own; leave rates= out")
        self._optimizer = optimizer
        self._scheduled = scheduled
        self.variables: list[tf.Variable] = []

    @property
    def clips(self) -> bool:
        """Whether it clips gradients."""
        own = self._optimizer
        return any((own.clipnorm, own.global_clipnorm, own.clipvalue))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the optimizer's slots."""
        self._weights = list(variables)
        self._optimizer.build(self._weights)
        self.variables = [variable.value for variable in self._optimizer.variables]

    def learning_rate(self, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """float32 scalar: the rate of this step."""
        if self._scheduled:
            return schedule(step)
        return tf.cast(self._optimizer.learning_rate, tf.float32)

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Hands the gradients on; Keras sums them over the replicas, which they already are."""
        if self._scheduled:
            self._optimizer.learning_rate.assign(learning_rate)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        self._optimizer.apply([gradient / replicas for gradient in gradients], self._weights)


def wrapped(optimizer: Optimizer | keras.optimizers.Optimizer, *, scheduled: bool) -> Optimizer:
    """One of Keras's as the loop asks for it, any other as it is.

    Args:
      scheduled: the loop's schedule sets the rate of one of Keras's; else it keeps its own.

    Raises:
      UsageError: as `KerasOptimizer`, or it is a name or a class.
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return KerasOptimizer(optimizer, scheduled=scheduled)
    if isinstance(optimizer, (str, type)):
        raise UsageError(
            f"optimizer= takes an optimizer that is made, such as SGD(), not {optimizer!r}; "
            "a name goes in Config"
        )
    return optimizer


def from_config(config: Config) -> Optimizer:
    """Our SGD, or the Keras optimizer that ``config.optimizer`` names, at the rate of ``config.schedule``.

    Raises:
      UsageError: Keras knows no such optimizer.
    """
    if config.optimizer == "sgd":
        return SGD(config.momentum, config.nesterov, config.weight_decay)
    try:
        optimizer = keras.optimizers.get(config.optimizer)
    # A KeyError comes from the optimizer that wraps another one, a TypeError from the base class.
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--optimizer must be sgd or a Keras optimizer such as adam, not '{config.optimizer}'"
        ) from error
    return KerasOptimizer(optimizer, scheduled=True)
