"""A step that learns to read digits side by side: `StringNet` with connectionist temporal classification."""

import keras
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.data.strings import Strings
from mnist_core.errors import UsageError
from mnist_core.loop.schedule import Schedule
from mnist_core.loop.state import TrainState
from mnist_core.loop.step import Batch, TrainStep
from mnist_core.models import StringNet
from mnist_core.settings import flag


class StringStep(TrainStep):
    """Makes strings of the images of a batch: the verbs see frames, float32 ``[n, HEIGHT, WIDTH, 1]``.

    Their labels are int32 ``[n, LONGEST]``, -1 after the last. Accuracy is that of whole strings in training;
    an evaluation scores the network on single digits, as any other.

    Raises:
      UsageError: the configuration has ``shift`` or ``label_smoothing``, which strings have not.
    """

    def __init__(self, config: Config, state: TrainState, schedule: Schedule) -> None:
        for name in ("shift", "label_smoothing"):
            if getattr(config, name):
                raise UsageError(
                    f"stringnet has no use for {flag(name)}; set it to 0, as --recipe strings does"
                )
        super().__init__(config, state, schedule)
        self.augment = Strings(self.augment)

    def forward(self, batch: Batch) -> tf.Tensor:
        """Logits ``[n, columns, 11]``, in the compute dtype."""
        return self.model.columns(batch.images, training=True)

    def loss(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        """float32 scalar: mean of -log P(text) by all columns that spell it, plus the model's own losses."""
        count, columns, _ = tf.unstack(tf.shape(logits))
        losses = tf.nn.ctc_loss(
            labels=tf.maximum(batch.labels, 0),
            logits=logits,
            label_length=_lengths(batch.labels),
            logit_length=tf.fill([count], columns),
            logits_time_major=False,
            blank_index=StringNet.BLANK,
        )
        return tf.add_n([tf.reduce_mean(losses), *self.model_losses()])

    def correct(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        """bool ``[n]``: where the likeliest of each column spells the text."""
        return decodes_to(batch.labels, logits)


def decodes_to(texts: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """bool ``[n]``: where best-path decoding gives int32 ``texts`` ``[n, LONGEST]``, -1 after the last."""
    predicted = tf.argmax(logits, axis=2, output_type=tf.int32)
    before = tf.pad(predicted[:, :-1], [[0, 0], [1, 0]], constant_values=StringNet.BLANK)
    is_new = (predicted != StringNet.BLANK) & (predicted != before)
    place = tf.cumsum(tf.cast(is_new, tf.int32), axis=1)
    padded = tf.pad(texts, [[0, 0], [0, tf.shape(logits)[1]]], constant_values=-1)
    expected = tf.gather(padded, tf.maximum(place - 1, 0), batch_dims=1)
    return tf.reduce_all(~is_new | (predicted == expected), axis=1) & (place[:, -1] == _lengths(texts))


def _lengths(texts: tf.Tensor) -> tf.Tensor:
    """int32 ``[n]``: how many digits each text has."""
    return tf.reduce_sum(tf.cast(texts >= 0, tf.int32), axis=1)


def step_for(model: keras.Model) -> type[TrainStep]:
    """The step that trains ``model`` where none is given."""
    return StringStep if isinstance(model, StringNet) else TrainStep
