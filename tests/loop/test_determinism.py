"""The seed decides the weights, to the last bit; how the work is cut into blocks does not."""

import functools

import numpy as np
import pytest

from tests.loop.small import AUGMENTED, Linear, Noisy, make, weights

PRECISIONS = ("float32", "mixed_bfloat16")
# Three epochs of four whole batches and a ragged one.
NOISY = {"net": Noisy, "max_steps": 15, "steps_per_block": 16, "label_smoothing": 0.1, **AUGMENTED}


@functools.cache
def reference(precision: str) -> str:
    """The hash of one run, with augmentation, dropout and batch normalisation on."""
    return weights_sha256(precision=precision)


def weights_sha256(**changes: object) -> str:
    return make(**{**NOISY, **changes}).fit().weights_sha256


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_seed_gives_the_same_weights(precision: str) -> None:
    assert weights_sha256(precision=precision) == reference(precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("steps_per_block", [1, 64])
def test_the_size_of_blocks_changes_no_bit(steps_per_block: int, precision: str) -> None:
    # The run ends after 15 steps, so that 64 tries the whole of an epoch.
    assert weights_sha256(precision=precision, steps_per_block=steps_per_block) == reference(precision)


def test_streamed_images_train_as_resident_ones() -> None:
    assert weights_sha256(feed="streaming", steps_per_block=3) == reference("float32")


def test_another_seed_gives_other_weights() -> None:
    assert weights_sha256(net=Linear, seed=1) != weights_sha256(net=Linear, seed=2)


def test_precision_is_no_empty_word() -> None:
    assert reference("float32") != reference("mixed_bfloat16")


def test_evaluation_in_between_changes_no_bit() -> None:
    changes = {"net": Linear, "validation_size": 50, "ema": 0.9}
    often = weights_sha256(eval_every="1", **changes)
    assert often == weights_sha256(eval_every="0", **changes)


def test_seeds_decide_initial_weights_and_nothing_before_them_does() -> None:
    first = weights(make(net=Noisy, seed=3))
    np.random.seed(9)
    make(net=Noisy, seed=4)
    np.testing.assert_array_equal(weights(make(net=Noisy, seed=3)), first)
