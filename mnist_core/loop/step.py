"""One step of training, as six small verbs. Override one to change what is learned.

AutoGraph doesn't rewrite them: write what depends on a tensor's value with `tf.where`, `tf.cond` or
`tf.while_loop`, as in the layers of Keras.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_core.config import Config
from mnist_core.data.augment import Augmentation
from mnist_core.errors import UsageError
from mnist_core.loop.schedule import Schedule
from mnist_core.loop.state import TrainState
from mnist_core.randomness import StepRandom, step_random

Scalars = dict[str, tf.Tensor]


class Batch(NamedTuple):
    """What a gradient is taken over: a step's images, or this replica's or micro-batch's part of them.

    Attributes:
      images: uint8 ``[n, 28, 28]`` from the feed; float32 ``[n, 28, 28, 1]`` in [0, 1] for the verbs. (A step
        with an ``augment`` of its own gets what that returns.)
      labels: int32 ``[n]``.
      rows: int32 ``[n]``, the places of these images in the whole batch of the step.
      size: int32 scalar, images in the whole batch.
    """

    images: tf.Tensor
    labels: tf.Tensor
    rows: tf.Tensor
    size: tf.Tensor

    @property
    def share(self) -> tf.Tensor:
        """float32 scalar: the part of the whole batch that is here."""
        return tf.cast(tf.shape(self.labels)[0], tf.float32) / tf.cast(self.size, tf.float32)

    def part(self, begin: tf.Tensor, end: tf.Tensor) -> "Batch":
        """Some of these images, still of the same whole batch."""
        return Batch(self.images[begin:end], self.labels[begin:end], self.rows[begin:end], self.size)


class TrainStep:
    """Forward, loss, gradients, update.

    Everything runs on one replica's part of the batch. Gradients are weighted by that part's share and summed
    by hand over micro-batches and replicas, which gives the mean over the whole batch, however it was split.
    Random numbers of `current_random` are the same at every block size and after a resume, TensorFlow's not.

    Args:
      config: as the trainer has resolved it.
      state: what is trained: model, optimizer, loss scale and averaged weights.
      schedule: the learning rate of each step.

    Attributes:
      variables: what a step of your own keeps from step to step; a checkpoint keeps these, too.
    """

    variables: Sequence[tf.Variable] = ()

    def __init__(
        self,
        config: Config,
        state: TrainState,
        schedule: Schedule,
    ) -> None:
        self.config = config
        self.model = state.model
        self.optimizer = state.optimizer
        self.loss_scale = state.loss_scale
        self.average = state.average
        self.schedule = schedule
        self.augment = Augmentation.from_config(config)

    def forward(self, batch: Batch) -> tf.Tensor:
        """Logits ``[n, 10]``, in the compute dtype."""
        return self.model(batch.images, training=True)

    def loss(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        """float32 scalar: mean cross-entropy of float32 ``logits``, plus the model's own losses."""
        smoothing = self.config.label_smoothing
        if smoothing:
            targets = tf.one_hot(batch.labels, 10, 1 - 0.9 * smoothing, 0.1 * smoothing)
            entropy = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        else:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, logits)
        return tf.add_n([tf.reduce_mean(entropy), *self.model_losses()])

    def model_losses(self) -> list[tf.Tensor]:
        """float32 scalars: regularisers, and what layers added in the last `forward`."""
        # Keras has regularised an activation in its own dtype.
        return [tf.cast(loss, tf.float32) for loss in self.model.losses]

    def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], Scalars]:
        """Gradients of the loss, times the batch's share and the loss scale, if there is one.

        Returns:
          Those, and float32 scalars to be logged, means over these images, ``loss`` and ``accuracy`` among
          them.
        """
        with tf.GradientTape() as tape:
            logits = tf.cast(self.forward(batch), tf.float32)
            loss = self.loss(batch, logits)
            scaled = loss * batch.share
            if self.loss_scale:
                scaled *= self.loss_scale.scale
        gradients = tape.gradient(
            scaled,
            [variable.value for variable in self.model.trainable_variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        correct = tf.cast(self.correct(batch, logits), tf.float32)
        return gradients, {"loss": loss, "accuracy": tf.reduce_mean(correct)}

    def correct(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        """bool ``[n]``: which predictions are correct, of float32 ``logits``."""
        return tf.argmax(logits, axis=1, output_type=tf.int32) == batch.labels

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        """Moves the weights.

        Args:
          gradients: float32, of the whole batch: summed over parts and replicas. They still carry the loss
            scale, if there is one.
          step: int64 scalar, from 0; the logs count from 1.

        Returns:
          float32 scalars to be logged, ``gradient_norm`` and ``learning_rate`` among them.
        """
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        norm = tf.linalg.global_norm(gradients)
        learning_rate = self.optimizer.learning_rate(self.schedule, step)
        if self.config.clip_norm:
            clip = tf.minimum(1.0, self.config.clip_norm / tf.maximum(norm, 1e-12))
            gradients = [gradient * clip for gradient in gradients]

        def apply() -> None:
            self.optimizer.apply(gradients, learning_rate)
            if self.average:
                self.average.update(step)

        scalars = {"gradient_norm": norm, "learning_rate": learning_rate}
        if self.loss_scale:
            scalars["loss_scale"] = self.loss_scale.scale.read_value()
            self.loss_scale.guard(norm, apply)
            scalars["skipped_steps"] = tf.cast(self.loss_scale.skipped, tf.float32)
        else:
            apply()
        return scalars

    def __call__(self, batch: Batch, step: tf.Tensor) -> Scalars:
        """Trains on this replica's uint8 ``batch``; returns float32 scalars of the whole batch.

        Args:
          step: int64 scalar, from 0.

        Raises:
          UsageError: `gradients` returns something that is no float32 scalar, or gives it a name already
            taken.
        """
        take = self._accumulated if self.config.gradient_accumulation > 1 else self._in_parts
        gradients, means = take(batch, step)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            gradients, means = replica.all_reduce("SUM", (gradients, means))
        counts = {}
        if "accuracy" in means:  # `Block` says what a step lacks.
            counts["error_count"] = tf.round((1 - means["accuracy"]) * tf.cast(batch.size, tf.float32))
        others = counts | self.update(gradients, step)
        if taken := sorted(means.keys() & others.keys()):
            raise UsageError(f"gradients() may not call a scalar {taken[0]}; give it another name")
        return means | others

    def _accumulated(self, batch: Batch, step: tf.Tensor) -> tuple[list[tf.Tensor], Scalars]:
        """Sums gradients over micro-batches of at most ``batch_size`` images over all replicas."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        micro_size = -(-self.config.batch_size // replicas)
        count = tf.shape(batch.labels)[0]

        def micro_batch(begin: tf.Tensor) -> tuple[list[tf.Tensor], Scalars]:
            return self._prepared_gradients(batch.part(begin, begin + micro_size), step)

        def add(begin: tf.Tensor, totals: Any) -> tuple[tf.Tensor, Any]:
            return begin + micro_size, tf.nest.map_structure(tf.add, totals, micro_batch(begin))

        # The first one gives the loop variables their structure, shapes and dtypes.
        first = micro_batch(tf.constant(0))
        _, totals = tf.while_loop(lambda begin, _: begin < count, add, (tf.constant(micro_size), first))
        return totals

    def _in_parts(self, batch: Batch, step: tf.Tensor) -> tuple[list[tf.Tensor], Scalars]:
        """Sums gradients over the parts of a batch, none of which waits for another."""
        count, parts = tf.shape(batch.labels)[0], self.config.parts
        if parts == 1:
            return self._prepared_gradients(batch, step)
        ends = [count * i // parts for i in range(parts + 1)]
        done = [
            self._prepared_gradients(batch.part(begin, end), step) for begin, end in itertools.pairwise(ends)
        ]
        gradients = [tf.add_n(each) for each in zip(*(one for one, _ in done), strict=True)]
        means = {name: tf.add_n([scalars[name] for _, scalars in done]) for name in done[0][1]}
        return gradients, means

    def _prepared_gradients(self, batch: Batch, step: tf.Tensor) -> tuple[list[tf.Tensor], Scalars]:
        random = StepRandom(self.config.seed, step, batch.size, batch.rows)
        images = tf.cast(batch.images[..., tf.newaxis], tf.float32) / 255.0
        with step_random(random):
            images, labels = self.augment(images, batch.labels, random)
            gradients, means = self.gradients(batch._replace(images=images, labels=labels))
        # Those of an embedding come as slices, whose norm is another one.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        for name, mean in means.items():
            if not (tf.is_tensor(mean) and mean.dtype == tf.float32 and mean.shape.rank == 0):
                raise UsageError(f"gradients() must return a float32 scalar for {name}, not {mean}")
        return gradients, {name: mean * batch.share for name, mean in means.items()}
