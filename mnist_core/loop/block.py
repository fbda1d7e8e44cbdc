"""K training steps in one call of the device: Keras's ``steps_per_execution``, Orbit's ``num_steps``."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_core.data.feed import Feed, Plan
from mnist_core.errors import DivergedError, UsageError
from mnist_core.loop.loss_scale import LossScale
from mnist_core.loop.run import BlockLog
from mnist_core.loop.step import Batch, Scalars, TrainStep

# Of every step these must be finite.
WATCHED = ("loss", "gradient_norm")
# The reports need these.
NEEDED = (*WATCHED, "accuracy", "error_count", "learning_rate")
# These are the journal's own, and the block's.
RESERVED = ("kind", "step", "epoch", "weight_norm", "update_norm")


class Block:
    """Runs blocks of steps as one `tf.function`, traced once for a whole run.

    Step numbers are passed as tensors, and their count as a shape, as XLA requires. Every step's scalars are
    returned in arrays, so that logging costs the device nothing and may skip steps.

    Args:
      jit: compile with XLA; each block size is then compiled once.
    """

    def __init__(self, step: TrainStep, feed: Feed, element_spec: Any, *, jit: bool = False) -> None:
        self._step = step
        self._feed = feed
        self._strategy = tf.distribute.get_strategy()
        self._names: list[str] = []
        self._jit = jit
        self._compiled: set[tuple[int, int]] = set()
        signature = (element_spec, tf.TensorSpec([], tf.int64))
        self.function = tf.function(self._run, input_signature=signature, jit_compile=jit or None)

    def trace(self) -> None:
        """Makes the graph, unless it is made.

        Raises:
          UsageError: the step doesn't return what every block is checked and reported by.
        """
        try:
            self.function.get_concrete_function()
        except UsageError as error:
            # AutoGraph puts where it was raised before what it says.
            raise UsageError(str(error).rpartition("UsageError: ")[2].strip()) from error

    def __call__(self, element: Any, first_step: int, num_steps: int) -> dict[str, np.ndarray]:
        """Trains on one element of the feed.

        Returns:
          float32 ``[num_steps]`` for each scalar of `TrainStep`, and scalars of the last step:
          ``weight_norm`` after it and ``update_norm``, the length of its change of the weights.
        """
        rows, norms = self.function(element, tf.constant(first_step, tf.int64))
        scalars = dict(zip(self._names, rows.numpy().T, strict=True))
        if len(rows) != num_steps:
            raise RuntimeError(f"the device ran {len(rows)} steps, not {num_steps}")
        return {**scalars, "weight_norm": norms[0].numpy(), "update_norm": norms[1].numpy()}

    def run(
        self, dataset: tf.data.Dataset, plan: Plan, blocks: Iterable[tuple[int, int]]
    ) -> Iterator[BlockLog]:
        """Runs each of ``blocks``, ``(first_step, num_steps)``, when it is asked for; times and logs it.

        Raises:
          UsageError: as `trace`.
        """
        # Before the feed's thread begins: Python 3.11 can't always parse in two threads at a time.
        self.trace()
        elements = iter(dataset)
        for first_step, num_steps in blocks:
            begin = time.perf_counter()
            element = next(elements)
            delivered = time.perf_counter()
            scalars = self(element, first_step, num_steps)
            seconds = time.perf_counter() - begin
            images = plan.num_images(first_step, num_steps)
            # With XLA the first block of each size compiles, else only the very first.
            size = (num_steps, images) if self._jit else (0, 0)
            yield BlockLog(
                steps=np.arange(first_step + 1, first_step + num_steps + 1),
                weight_norm=scalars.pop("weight_norm"),
                update_norm=scalars.pop("update_norm"),
                scalars=scalars,
                images=images,
                seconds=seconds,
                data_wait_seconds=delivered - begin,
                compiled=size not in self._compiled,
            )
            self._compiled.add(size)

    def _run(self, element: Any, first_step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # AutoGraph is for the loop below. On a step it would spend seconds, and hide it from tracebacks.
        one_step = tf.function(self._one_step, autograph=False)
        num_steps = self._feed.shape(element)[0]
        rows = tf.TensorArray(tf.float32, size=num_steps)
        last = num_steps - 1
        for i in tf.range(last):
            rows = rows.write(i, one_step(element, i, first_step + tf.cast(i, tf.int64)))
        weights = [variable.value for variable in self._step.model.trainable_variables]
        before = [weight.read_value() for weight in weights]
        rows = rows.write(last, one_step(element, last, first_step + tf.cast(last, tf.int64)))
        after = [weight.read_value() for weight in weights]
        moved = [new - old for new, old in zip(after, before, strict=True)]
        return rows.stack(), tf.stack([tf.linalg.global_norm(after), tf.linalg.global_norm(moved)])

    def _one_step(self, element: Any, i: tf.Tensor, global_step: tf.Tensor) -> tf.Tensor:
        results = self._strategy.run(self._replica_step, args=(element, i, global_step))
        # Every replica holds the same sums.
        return self._strategy.experimental_local_results(results)[0]

    def _replica_step(self, element: Any, i: tf.Tensor, global_step: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        size = self._feed.shape(element)[1]
        rows = tf.range(replica.replica_id_in_sync_group, size, replica.num_replicas_in_sync)
        scalars = self._step(Batch(*self._feed.take(element, i, rows), rows, size), global_step)
        scalars = {name: tf.cast(value, tf.float32) for name, value in scalars.items()}
        self._names = _checked(scalars)
        return tf.stack(list(scalars.values()))


def _checked(scalars: Scalars) -> list[str]:
    names = list(scalars)
    if missing := [name for name in NEEDED if name not in names]:
        raise UsageError(f"the step returns {', '.join(names)}, but no {' and no '.join(missing)}")
    if taken := [name for name in RESERVED if name in names]:
        raise UsageError(f"the step may not call a scalar {taken[0]}; give it another name")
    if wide := [name for name in names if scalars[name].shape.rank != 0]:
        raise UsageError(f"the step must return a scalar for {wide[0]}, not {scalars[wide[0]].shape}")
    return names


def check_finite(log: BlockLog, *, overflow_is_skipped: bool) -> None:
    """Checks the loss and gradients of every step, and the weights after the last.

    Args:
      overflow_is_skipped: a step whose float16 gradients overflowed was skipped, so they may be infinite,
        until the loss scale has reached its minimum and can't be lowered further.

    Raises:
      DivergedError: one became NaN or infinite; the message names the step and the block.
    """
    watched = {name: (log.steps, log.scalars[name]) for name in WATCHED}
    if overflow_is_skipped:
        # A user's step may not log its loss scale.
        scale = log.scalars.get("loss_scale", np.full(len(log.steps), np.inf))
        hopeless = scale <= LossScale.LEAST
        watched["gradient_norm"] = log.steps[hopeless], log.scalars["gradient_norm"][hopeless]
    watched["weight_norm"] = (log.steps[-1:], np.array([log.weight_norm]))
    for name, (steps, values) in watched.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise DivergedError(
                f"{name} became {values[bad[0]]} at step {steps[bad[0]]}, in the block of "
                f"steps {log.steps[0]}-{log.steps[-1]}; lower --lr or set --clip-norm"
            )
