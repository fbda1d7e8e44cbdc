"""A run is one trace, and what its blocks report is what happened."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.errors import UsageError
from mnist_core.loop.step import Scalars, TrainStep
from tests.loop.small import AUGMENTED, Linear, Noisy, Recorder, make, train, weights


@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_a_run_of_several_epochs_is_traced_once(feed: str) -> None:
    recorder = Recorder()
    trainer = make(
        net=Noisy,
        feed=feed,
        epochs=3,
        validation_size=70,
        eval_every="3",
        steps_per_block=2,
        hooks=[recorder],
        **AUGMENTED,
    )
    trainer.fit()
    # 230 images are three batches of 64 and one of 38, so blocks had one and two steps, and two batch sizes.
    assert {len(log.steps) for log in recorder.logs} == {1, 2}
    assert trainer.block.function.experimental_get_tracing_count() == 1
    assert trainer._evaluator.function.experimental_get_tracing_count() == 1


def test_every_step_is_reported_once_and_in_order() -> None:
    recorder = Recorder()
    make(net=Linear, epochs=3, steps_per_block=3, eval_every="7", hooks=[recorder]).fit()
    assert np.concatenate([log.steps for log in recorder.logs]).tolist() == list(range(1, 16))
    for log in recorder.logs:
        for name, values in log.scalars.items():
            assert values.shape == log.steps.shape, name
            assert values.dtype == np.float32, name
        assert log.images_per_second > 0
        assert log.steps_per_second > 0
        assert 0 <= log.data_wait_fraction <= 1


def test_throughput_leaves_out_the_blocks_that_compile() -> None:
    recorder = Recorder()
    trainer = train(net=Linear, max_steps=9, steps_per_block=3, hooks=[recorder])
    first, *others = recorder.logs
    assert first.compiled
    assert not any(log.compiled for log in others)
    images, seconds = sum(log.images for log in others), sum(log.seconds for log in others)
    assert trainer.run.images_per_second == pytest.approx(images / seconds)
    # A second training goes on in the same trace.
    trainer.run.total_steps = 12
    trainer.fit()
    assert trainer.block.function.experimental_get_tracing_count() == 1
    assert not recorder.logs[-1].compiled


def test_the_wait_for_data_is_told_from_the_training() -> None:
    recorder = Recorder()
    trainer = make(net=Linear, max_steps=8, steps_per_block=1, hooks=[recorder])
    prompt = trainer._feed.dataset

    def late(blocks: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        for block in blocks:
            time.sleep(0.2)
            yield block

    trainer._feed.dataset = lambda blocks: prompt(late(blocks))
    trainer.fit()
    # The first ones come while the step is traced.
    log = recorder.logs[-1]
    assert 0.1 < log.data_wait_seconds < log.seconds
    assert log.data_wait_fraction > 0.5


def test_the_norms_are_those_of_the_last_step_of_a_block() -> None:
    single, double = Recorder(), Recorder()
    for recorder, size in ((single, 1), (double, 2)):
        make(net=Linear, max_steps=4, steps_per_block=size, weight_decay=0.1, hooks=[recorder]).fit()
    before, after = single.weights[2:4]
    log = double.logs[1]
    assert log.weight_norm == pytest.approx(np.linalg.norm(after), rel=1e-5)
    assert log.update_norm == pytest.approx(np.linalg.norm(after - before), rel=1e-4)
    assert log.update_norm == single.logs[3].update_norm


def test_xla_compiles_the_same_training_in_one_trace() -> None:
    # With augmentation and dropout, whose draws XLA makes too.
    common = {"net": Noisy, "max_steps": 10, "steps_per_block": 4, **AUGMENTED}
    compiled, plain = (train(jit=jit, **common) for jit in ("on", "off"))
    assert compiled.block.function.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(weights(compiled), weights(plain), atol=1e-5)
    assert np.abs(weights(plain) - weights(make(net=Noisy))).max() > 1e-3


class Silent(TrainStep):
    """Tells its loss and nothing else."""

    def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
        super().update(gradients, step)
        return {}


def test_a_step_must_return_what_is_watched_and_is_refused_in_one_line_before_it_trains() -> None:
    trainer = make(net=Linear, step=Silent, max_steps=1)
    before = weights(trainer)
    message = r"^the step returns [^\n]*, but no gradient_norm and no learning_rate$"
    with pytest.raises(UsageError, match=message):
        trainer.fit()
    np.testing.assert_array_equal(weights(trainer), before)


@pytest.mark.parametrize("name", ["step", "weight_norm"])
def test_a_scalar_may_not_have_a_name_of_the_journal_or_the_block(name: str) -> None:
    class Renaming(TrainStep):
        def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> Scalars:
            return {**super().update(gradients, step), name: tf.constant(0.0)}

    with pytest.raises(UsageError, match=f"may not call a scalar {name}"):
        train(net=Linear, step=Renaming, max_steps=1)
