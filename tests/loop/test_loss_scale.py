"""The loss scale halves and skips where a gradient overflows, and grows after many good steps."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.errors import DivergedError
from mnist_core.loop.loss_scale import LossScale
from mnist_core.loop.step import Scalars, TrainStep
from tests.loop.small import Linear, Recorder, make, weights

FINITE = tf.constant(1.0)


class Overflow(TrainStep):
    """Its third step overflows."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        factor = tf.where(step == 2, np.inf, 1.0)
        return super().update([gradient * factor for gradient in gradients], step)


@pytest.mark.parametrize("norm", [np.inf, np.nan])
def test_an_overflow_halves_the_scale_and_skips_the_update(norm: float) -> None:
    scale, updated = LossScale(initial=64.0), tf.Variable(0)
    scale.guard(tf.constant(norm), lambda: updated.assign_add(1))
    assert (scale.scale.numpy(), scale.skipped.numpy(), updated.numpy()) == (32.0, 1, 0)


def test_the_scale_doubles_after_so_many_good_steps_in_a_row() -> None:
    scale, updated = LossScale(initial=64.0, growth_steps=3), tf.Variable(0)
    norms = [1.0, 1.0, np.inf, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    seen = []
    for norm in norms:
        scale.guard(tf.constant(norm), lambda: updated.assign_add(1))
        seen.append(float(scale.scale))
    assert seen == [64, 64, 32, 32, 32, 64, 64, 64, 128]
    assert updated.numpy() == 8


def test_the_scale_stays_between_1_and_2_to_the_24() -> None:
    low, high = LossScale(initial=1.0), LossScale(initial=2.0**24, growth_steps=1)
    low.guard(tf.constant(np.inf), lambda: None)
    high.guard(FINITE, lambda: None)
    assert (float(low.scale), float(high.scale)) == (1.0, 2.0**24)


def test_gradients_are_divided_by_the_scale() -> None:
    assert LossScale(initial=64.0).unscale([tf.constant(32.0)])[0].numpy() == 0.5


def test_a_skipped_step_counts_but_leaves_weights_and_momentum_alone() -> None:
    recorder = Recorder()
    trainer = make(
        net=Linear,
        step=Overflow,
        precision="mixed_float16",
        steps_per_block=1,
        max_steps=5,
        ema=0.9,
        hooks=[recorder],
    )
    before = weights(trainer)
    trainer.fit()
    changes = np.diff([before, *recorder.weights], axis=0)
    assert [bool(change.any()) for change in changes] == [True, True, False, True, True]
    assert [log.steps.tolist() for log in recorder.logs] == [[1], [2], [3], [4], [5]]
    assert recorder.scalars("skipped_steps").tolist() == [0, 0, 1, 1, 1]
    # The scale logged is the one that the step's loss was multiplied by.
    assert recorder.scalars("loss_scale").tolist() == [2.0**15] * 3 + [2.0**14] * 2
    assert np.isfinite(np.concatenate([value.ravel() for value in trainer.state.arrays()["optimizer"]])).all()


class Hopeless(TrainStep):
    """Its gradients are NaN, whatever the scale."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        return super().update([gradient * np.nan for gradient in gradients], step)


def test_gradients_that_no_scale_can_help_end_the_run() -> None:
    trainer = make(net=Linear, step=Hopeless, precision="mixed_float16", max_steps=40)
    with pytest.raises(DivergedError, match="gradient_norm became nan at step 16, "):
        trainer.fit()


def test_mixed_float16_trains_as_float32_does() -> None:
    losses = {}
    for precision in ("float32", "mixed_float16"):
        recorder = Recorder()
        make(net=Linear, precision=precision, max_steps=20, lr=0.05, hooks=[recorder]).fit()
        losses[precision] = recorder.scalars("loss")
    half, full = losses["mixed_float16"], losses["float32"]
    np.testing.assert_allclose(half, full, rtol=0.02)
    assert full[-1] < 0.7 * full[0]
    assert (half != full).any()


def test_float16_alone_has_a_loss_scale() -> None:
    assert make(net=Linear, precision="float32").state.loss_scale is None
    assert make(net=Linear, precision="mixed_bfloat16").state.loss_scale is None
