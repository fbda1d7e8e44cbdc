"""What somebody brings to the loop counts whole, or is refused in one line."""

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import current_random
from mnist_core.config import Config
from mnist_core.data.split import Split
from mnist_core.data.synthetic import draw
from mnist_core.errors import InputError, UsageError
from mnist_core.loop.checkpoint import CHECKPOINTS
from mnist_core.loop.hooks import EarlyStopping, Hook, TargetAccuracy
from mnist_core.loop.run import Run
from mnist_core.loop.state import TrainState
from mnist_core.loop.step import Batch, Scalars, TrainStep
from mnist_core.loop.trainer import Trainer
from mnist_core.metrics import Report
from mnist_core.vision.predictor import Predictor
from tests.loop.small import DATA, PLAIN, Linear, Recorder, make, weights


class Tokens(keras.Model):
    """Looks up what each of four shades means; its gradients come as slices, many of the same row."""

    def __init__(self) -> None:
        super().__init__()
        self.shades = keras.layers.Embedding(4, 8)
        self.pool = keras.layers.AveragePooling2D(4)
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        found = self.shades(tf.cast(tf.round(images[..., 0] * 3), tf.int32))
        return self.head(self.flatten(self.pool(found)))


@pytest.mark.parametrize("split", [{"parts": 2}, {"gradient_accumulation": 2, "batch_size": 16}])
def test_gradients_of_an_embedding_are_clipped_alike_however_a_batch_is_split(split: dict[str, int]) -> None:
    recorders = Recorder(), Recorder()
    common = {"net": Tokens, "clip_norm": 0.01, "max_steps": 2, "batch_size": 32}
    trainers = [
        make(**{**common, **more}, hooks=[recorder])
        for more, recorder in zip(({"parts": 1}, split), recorders, strict=True)
    ]
    for trainer in trainers:
        trainer.fit()
    norms = [recorder.scalars("gradient_norm") for recorder in recorders]
    np.testing.assert_allclose(*norms, rtol=1e-4)
    np.testing.assert_allclose(*map(weights, trainers), atol=1e-5)


def test_an_optimizer_of_keras_trains_an_embedding() -> None:
    trainer = make(net=Tokens, keras_optimizer=keras.optimizers.Adam(0.01), parts=1, max_steps=2)
    before = weights(trainer)
    trainer.fit()
    assert np.abs(weights(trainer) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.SGD(0.1, loss_scale_factor=1024.0), "leave its loss_scale_factor out"),
        (keras.optimizers.Adam(0.1, use_ema=True), "set --ema"),
    ],
)
def test_what_an_optimizer_of_keras_would_do_for_nothing_is_refused(
    optimizer: keras.optimizers.Optimizer, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(net=Linear, keras_optimizer=optimizer)


@pytest.mark.parametrize("hook", [EarlyStopping(), TargetAccuracy(0.9)])
@pytest.mark.parametrize("changes", [{"validation_size": 0}, {"validation_size": 50, "eval_every": "0"}])
def test_a_hook_that_waits_for_evaluations_is_refused_where_there_are_none(
    hook: Any, changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=f"{type(hook).__name__} needs evaluations"):
        make(net=Linear, hooks=[hook], **changes)


class Damped(TrainStep):
    """Divides gradients by a moving average of their size, which it keeps itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.size = tf.Variable(1.0, trainable=False)
        self.variables = [self.size]

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        scalars = super().update([gradient / self.size for gradient in gradients], step)
        self.size.assign(0.5 * self.size + 0.5 * tf.linalg.global_norm(gradients))
        return scalars


def test_what_a_step_keeps_is_in_its_checkpoints(tmp_path: Path) -> None:
    whole = make(net=Linear, step=Damped, max_steps=8, checkpoint_every="4", keep=9)
    whole.fit(tmp_path)
    resumed = make(net=Linear, step=Damped, max_steps=8)
    resumed.restore(str(tmp_path / CHECKPOINTS / "step-00000004.npz"))
    resumed.fit()
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    assert resumed._step.size.numpy() == whole._step.size.numpy() != 1


class Grainy(TrainStep):
    """Adds noise to the images."""

    def forward(self, batch: Batch) -> tf.Tensor:
        noise = current_random().uniform([28, 28, 1], -0.2, 0.2)
        return self.model(batch.images + noise, training=True)


def test_random_numbers_of_a_step_do_not_depend_on_the_blocks() -> None:
    trained = []
    for steps in (1, 3, 8):
        trainer = make(net=Linear, step=Grainy, max_steps=8, steps_per_block=steps)
        trainer.fit()
        trained.append(weights(trainer))
    np.testing.assert_array_equal(trained[0], trained[1])
    np.testing.assert_array_equal(trained[0], trained[2])
    plain = make(net=Linear, max_steps=8)
    plain.fit()
    assert np.abs(weights(plain) - trained[0]).max() > 1e-3


class Scaled(keras.Model):
    """Has an argument, and no get_config() that would tell it."""

    def __init__(self, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain, self.head = gain, Linear()

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.head(self.gain * images)


def test_a_network_whose_arguments_would_be_lost_is_refused_before_it_trains(tmp_path: Path) -> None:
    trainer = make(net=lambda: Scaled(4.0), max_steps=2)
    with pytest.raises(UsageError, match=r"^Scaled can't be saved with its gain: give it a get_config\(\)"):
        trainer.fit(tmp_path)
    assert trainer.fit().run.step == 2


@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_a_trainer_that_is_gone_leaves_neither_images_nor_weights(feed: str) -> None:
    trainer = make(net=Linear, max_steps=3, feed=feed)
    trainer.fit()
    left: list[weakref.ref[Any]] = [weakref.ref(trainer._feed), weakref.ref(trainer.state)]
    assert isinstance(left[1](), TrainState)
    del trainer
    gc.collect()
    assert [one() for one in left] == [None, None]


@pytest.mark.parametrize("rates", [lambda step: 0.1 * 0.9**step, lambda step: [0.1, 0.2], 0.1])
def test_rates_that_are_none_are_refused_at_once(rates: Any) -> None:
    with pytest.raises(UsageError, match="rates must give the learning rate of a step, an int64 scalar: "):
        Trainer(Config(**PLAIN), data=DATA, model=Linear, rates=rates)


def test_rates_may_be_of_any_precision() -> None:
    recorder = Recorder()
    config = Config(**{**PLAIN, "max_steps": 2})
    half = Trainer(
        config,
        data=DATA,
        model=Linear,
        rates=lambda step: tf.constant(0.5, tf.float64) / tf.cast(step + 1, tf.float64),
        hooks=[recorder],
    )
    half.fit()
    np.testing.assert_array_equal(recorder.scalars("learning_rate"), np.float32([0.5, 0.25]))


def test_images_and_labels_may_be_lists() -> None:
    split = Split(DATA.train.images[:3], DATA.train.labels[:3].tolist())
    assert split.labels.dtype == np.uint8
    np.testing.assert_array_equal(split.labels, DATA.train.labels[:3])
    with pytest.raises(InputError, match=r"images: int64 \[3, 28, 28\], uint8"):
        Split(DATA.train.images[:3].tolist(), split.labels)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"net": "mlp"}, "model= takes a network or what makes one, not 'mlp'; name it in Config"),
        ({"keras_optimizer": "adam"}, "optimizer= takes an optimizer that is made, such as SGD"),
        ({"keras_optimizer": keras.optimizers.Adam}, "optimizer= takes an optimizer that is made"),
        ({"hooks": [Recorder]}, r"hooks are objects; put Recorder\(\) in place of the class"),
    ],
)
def test_a_name_or_a_class_in_the_place_of_an_object_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**{"net": Linear, **wrong})


@pytest.mark.parametrize("name", ["train", "test", "validation"])
def test_images_and_labels_in_the_place_of_a_split_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} must be a Split\(images, labels\), not a tuple$"):
        dataclasses.replace(DATA, **{name: (DATA.train.images, DATA.train.labels)})


def test_a_network_in_the_place_of_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a network is given by its name: Predictor\(model=...\)"):
        Predictor(Linear())


class Norms(TrainStep):
    """Would log a norm for each gradient under one name."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        return {**super().update(gradients, step), "norms": norms}


def test_a_step_that_returns_more_than_scalars_is_refused_before_the_weights_move() -> None:
    trainer = make(net=Linear, step=Norms, max_steps=1)
    before = weights(trainer)
    with pytest.raises(UsageError, match=r"^the step must return a scalar for norms, not \(2,\)$"):
        trainer.fit()
    np.testing.assert_array_equal(weights(trainer), before)


def test_validation_images_of_ones_own_watch_the_run_and_no_training_image_is_held_out() -> None:
    own = Split(*draw(70, seed=3))
    data = dataclasses.replace(DATA, validation=own)
    seen: list[Split] = []

    class Watch(Hook):
        def on_evaluation(self, run: Run, report: Report, split: Split) -> None:
            seen.append(split)

    # A twelfth less would be one batch.
    trainer = make(net=Linear, data=data, validation_size=None, epochs=2, batch_size=280, hooks=[Watch()])
    trainer.fit()
    assert [split is own for split in seen] == [True, True]
    assert trainer.run.step == 4
    with pytest.raises(UsageError, match="have validation images of their own; leave validation_size out"):
        make(net=Linear, data=data, validation_size=50)
