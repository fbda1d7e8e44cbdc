"""A step's loss, gradients and scalars are what they are said to be, and each verb can be overridden."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core.errors import UsageError
from mnist_core.loop.step import Batch, Scalars, TrainStep
from mnist_core.loop.trainer import Trainer
from tests.loop.small import Linear, Recorder, batch_of, make, weights

BARE = {"net": Linear, "momentum": 0.0, "nesterov": False, "max_steps": 1}


def first_step(**changes: object) -> tuple[Trainer, Recorder, np.ndarray]:
    """One step of a linear model: its trainer, its log, and the softmax that it began with."""
    recorder = Recorder()
    trainer = make(**{**BARE, "hooks": [recorder], **changes})
    logits = trainer.state.model(batch_of(trainer, 0)[0])
    trainer.fit()
    return trainer, recorder, tf.nn.softmax(logits).numpy()


class AbsoluteError(TrainStep):
    """Another loss than cross-entropy."""

    def loss(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.abs(logits - tf.one_hot(batch.labels, 10)))


class Branching(TrainStep):
    """Asks Python about a tensor."""

    def loss(self, batch: Batch, logits: tf.Tensor) -> tf.Tensor:
        loss = super().loss(batch, logits)
        return loss if loss > 1 else 2 * loss


class Inverted(TrainStep):
    """Sees white for black."""

    def forward(self, batch: Batch) -> tf.Tensor:
        return self.model(1 - batch.images, training=True)


class Counting(Linear):
    """Adds a loss of exactly 3 at every call, and has a layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = keras.layers.Dense(3)
        self.unused.build((None, 2))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        self.add_loss(tf.constant(3.0))
        return super().call(images)


def test_the_scalars_of_a_step_are_those_of_its_batch_before_the_update() -> None:
    trainer, recorder, probabilities = first_step()
    _, labels = batch_of(trainer, 0)
    wrong = probabilities.argmax(axis=1) != labels
    assert set(recorder.logs[0].scalars) == {
        "loss",
        "error_count",
        "accuracy",
        "gradient_norm",
        "learning_rate",
    }
    assert recorder.scalars("error_count")[0] == wrong.sum()
    assert recorder.scalars("accuracy")[0] == pytest.approx(1 - wrong.mean())
    expected = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert recorder.scalars("loss")[0] == pytest.approx(expected, rel=1e-5)


def test_the_update_is_the_rate_times_the_gradient_of_the_mean_loss() -> None:
    before = weights(make(**BARE))
    trainer, recorder, probabilities = first_step()
    images, labels = batch_of(trainer, 0)
    error = (probabilities - np.eye(10, dtype=np.float32)[labels]) / len(labels)
    gradient = np.concatenate([(images.reshape(len(labels), -1).T @ error).ravel(), error.sum(axis=0)])
    np.testing.assert_allclose(weights(trainer), before - 0.01 * gradient, atol=1e-6)
    assert recorder.scalars("gradient_norm")[0] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_labels_have_the_loss_of_keras(smoothing: float) -> None:
    step = make(**BARE, label_smoothing=smoothing)._step
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(32, 10)), tf.float32)
    labels = random.integers(0, 10, 32).astype(np.int32)
    batch = Batch(tf.zeros([32, 28, 28, 1]), tf.constant(labels), tf.range(32), tf.constant(32))
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(theirs(np.eye(10, dtype=np.float32)[labels], logits))
    assert float(step.loss(batch, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.1, 1e6])
def test_gradients_are_clipped_by_their_global_norm(clip_norm: float) -> None:
    _, recorder, _ = first_step(clip_norm=clip_norm)
    norm = recorder.scalars("gradient_norm")[0]
    assert 0.2 < norm < 100
    # The norm is logged as it was; at a momentum of 0 the update shows what was used.
    assert recorder.logs[0].update_norm == pytest.approx(0.01 * min(norm, clip_norm), rel=1e-3)


def test_an_overridden_loss_is_the_one_that_is_learned() -> None:
    trainer, recorder, _ = first_step(step=AbsoluteError)
    images, labels = batch_of(trainer, 0)
    initial = make(**BARE).state.model(images).numpy()
    expected = np.abs(initial - np.eye(10)[labels]).mean()
    assert recorder.scalars("loss")[0] == pytest.approx(expected, rel=1e-5)
    assert np.abs(weights(trainer) - weights(first_step()[0])).max() > 1e-4


def test_an_overridden_forward_is_the_one_that_is_learned() -> None:
    trainer, recorder, _ = first_step(step=Inverted)
    images, labels = batch_of(trainer, 0)
    probabilities = tf.nn.softmax(make(**BARE).state.model(1 - images)).numpy()
    expected = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert recorder.scalars("loss")[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_models_own_losses_count_once_however_the_batch_is_split(accumulation: int) -> None:
    recorders = Recorder(), Recorder()
    for recorder, net in zip(recorders, (Linear, Counting), strict=True):
        split = {"batch_size": 64 // accumulation, "gradient_accumulation": accumulation}
        make(net=net, max_steps=6, steps_per_block=4, hooks=[recorder], **split).fit()
    plain, counting = (recorder.scalars("loss") for recorder in recorders)
    np.testing.assert_allclose(counting, plain + 3, rtol=1e-5)


def test_a_regulariser_pulls_on_the_weights() -> None:
    regularizer = keras.regularizers.L2(0.5)
    before = make(**BARE).state.model.head.kernel.value.numpy()
    plain, _, _ = first_step()
    pulled, recorder, probabilities = first_step(net=lambda: Linear(kernel_regularizer=regularizer))
    _, labels = batch_of(pulled, 0)
    entropy = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert recorder.scalars("loss")[0] == pytest.approx(entropy + 0.5 * (before**2).sum(), rel=1e-5)
    # The gradient of 0.5 w^2 is w, and the rate is 0.01.
    moved = pulled.state.model.head.kernel.value.numpy() - plain.state.model.head.kernel.value.numpy()
    np.testing.assert_allclose(moved, -0.01 * before, atol=1e-6)


def test_a_regulariser_of_activations_counts_in_every_precision() -> None:
    losses, small = {}, keras.regularizers.L2(0.5)
    for precision in ("float32", "mixed_bfloat16"):
        _, recorder, _ = first_step(net=lambda: Linear(activity_regularizer=small), precision=precision)
        losses[precision] = recorder.scalars("loss")[0]
    _, plain, _ = first_step()
    assert losses["float32"] > plain.scalars("loss")[0] + 0.1
    assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_a_layer_that_nothing_uses_stays_as_it_is() -> None:
    trainer = make(**{**BARE, "net": Counting})
    before = trainer.state.model.unused.kernel.value.numpy()
    trainer.fit()
    np.testing.assert_array_equal(trainer.state.model.unused.kernel.value, before)


def test_the_rate_of_step_k_is_the_schedule_at_k() -> None:
    recorder = Recorder()
    trainer = make(net=Linear, schedule="onecycle", warmup=0.3, max_steps=10, hooks=[recorder])
    trainer.fit()
    expected = [float(trainer._step.schedule(tf.constant(step, tf.int64))) for step in range(10)]
    np.testing.assert_allclose(recorder.scalars("learning_rate"), expected, rtol=1e-5)


def test_a_verb_is_traced_as_it_is_written():
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError, match="loss > 1"):
        make(**BARE, step=Branching).fit()


class Telling(TrainStep):
    """Tells the mean number of an image's row in the batch, too."""

    def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], Scalars]:
        gradients, scalars = super().gradients(batch)
        return gradients, {**scalars, "row": tf.reduce_mean(tf.cast(batch.rows, tf.float32))}


@pytest.mark.parametrize(
    "split", [{"parts": 1}, {"parts": 2}, {"parts": 3}, {"batch_size": 16, "gradient_accumulation": 4}]
)
def test_own_scalars_are_means_over_the_batch_however_it_is_split(split: dict[str, int]) -> None:
    _, recorder, _ = first_step(step=Telling, **split)
    assert recorder.scalars("row")[0] == pytest.approx(31.5)
    _, whole, _ = first_step(step=Telling)
    for name in ("loss", "accuracy", "error_count"):
        assert recorder.scalars(name)[0] == pytest.approx(whole.scalars(name)[0], rel=1e-6)


@pytest.mark.parametrize("name", ["learning_rate", "error_count"])
def test_own_scalars_may_not_have_the_name_of_another(name: str) -> None:
    class Shadowing(TrainStep):
        def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], Scalars]:
            gradients, scalars = super().gradients(batch)
            return gradients, {**scalars, name: tf.constant(0.0)}

    with pytest.raises(UsageError, match=f"may not call a scalar {name}"):
        first_step(step=Shadowing)


@pytest.mark.parametrize(
    ("name", "value"), [("seen", tf.constant(3)), ("loss", tf.constant([1.0, 2.0])), ("seen", 0.5)]
)
def test_own_scalars_must_be_float32_tensors(name: str, value: Any) -> None:
    class Odd(TrainStep):
        def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], Scalars]:
            gradients, scalars = super().gradients(batch)
            return gradients, {**scalars, name: value}

    with pytest.raises(UsageError, match=f"must return a float32 scalar for {name}, not"):
        first_step(step=Odd)
