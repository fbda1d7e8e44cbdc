"""A batch computed in parts, side by side, trains what the whole batch trains."""

import os
from typing import Any

import numpy as np
import pytest

from mnist_core import models
from mnist_core.data.split import Dataset, Split
from mnist_core.errors import UsageError
from tests.loop.small import AUGMENTED, DATA, Linear, Noisy, Recorder, make, train, weights

TOLERANCE = 1e-5


def trained(**changes: Any) -> tuple[np.ndarray, Recorder]:
    seen = Recorder()
    trainer = make(hooks=[seen], max_steps=15, **changes)
    trainer.fit()
    return weights(trainer), seen


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_sum_to_the_whole_batch(parts: int) -> None:
    # Batches of 51 and a last one of 45 don't divide by 2.
    common = {"net": models.KerasConvNet, "batch_size": 51, "lr": 1e-4, **AUGMENTED, "thickness": 0.0}
    whole, logs = trained(parts=1, **common)
    split, split_logs = trained(parts=parts, **common)
    assert np.abs(whole - split).max() < TOLERANCE
    for name in ("loss", "accuracy", "error_count", "gradient_norm"):
        np.testing.assert_allclose(logs.scalars(name), split_logs.scalars(name), rtol=1e-3)


def test_batch_normalisation_sees_one_part_as_it_sees_one_micro_batch() -> None:
    side_by_side = make(net=Noisy, batch_size=64, parts=2, max_steps=4)
    one_by_one = make(net=Noisy, batch_size=32, gradient_accumulation=2, max_steps=4)
    whole = make(net=Noisy, batch_size=64, parts=1, max_steps=4)
    for trainer in (side_by_side, one_by_one, whole):
        trainer.fit()
    assert np.abs(weights(side_by_side) - weights(one_by_one)).max() < TOLERANCE
    assert np.abs(weights(side_by_side) - weights(whole)).max() > 1e-3
    for mine, theirs in zip(
        side_by_side.state.model.non_trainable_variables,
        one_by_one.state.model.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(mine.value, theirs.value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"gradient_accumulation": 2}, {"jit": "on"}, {"batch_size": 1}],
    ids=lambda one: next(iter(one)),
)
def test_what_cannot_be_split_is_refused_when_asked_for_and_else_left_whole(changes: dict[str, Any]) -> None:
    assert make(net=Linear, **{"parts": None, **changes}).config.parts == 1
    with pytest.raises(UsageError, match="--parts works with one replica"):
        make(net=Linear, **{"parts": 2, **changes})


def test_parts_are_as_many_as_the_device_runs_side_by_side_where_none_are_given() -> None:
    trainer = make(net=Linear, parts=None)
    assert trainer.config.parts == trainer.device.parts == min(2, len(os.sched_getaffinity(0)))


def test_one_training_image_is_one_part() -> None:
    split = Split(DATA.train.images[:1], DATA.train.labels[:1])
    trainer = train(net=Linear, parts=None, data=Dataset("one", split, DATA.test), max_steps=2)
    assert (trainer.config.parts, trainer.run.step) == (1, 2)


def test_a_batch_without_an_image_for_each_part_is_refused() -> None:
    with pytest.raises(UsageError, match="too small to be shared by 5 replicas or --parts"):
        make(net=Linear, batch_size=4, parts=5)
