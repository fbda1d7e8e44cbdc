"""Every epoch has an order of its own with each image once, and both feeds deliver it alike."""

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from mnist_core.data.feed import Feed, Plan, ResidentFeed, StreamingFeed
from mnist_core.data.idx import read_idx, write_idx
from mnist_core.data.order import Shuffle
from mnist_core.data.split import Split
from mnist_core.data.synthetic import draw
from mnist_core.errors import UsageError
from tests.memory import mapped_bytes

SPLIT = Split(*draw(103, seed=5))


def cut(plan: Plan, begin: int, end: int, most: int, periods: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    return list(plan.blocks(begin, end, most, periods))


@pytest.mark.parametrize("count", [1, 2, 97, 60000])
def test_every_epoch_is_a_permutation_of_all_images(count: int) -> None:
    plan = Plan(count, 32, seed=0)
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(plan.order(epoch)), np.arange(count))


def test_epochs_and_seeds_are_unlike_each_other() -> None:
    orders = [Plan(60000, 128, seed).order(epoch) for seed in range(4) for epoch in range(4)]
    ranks = np.argsort(orders, axis=1)
    correlation = spearmanr(ranks, axis=1).statistic[np.triu_indices(16, k=1)]
    # Its standard deviation is 1 / sqrt(59,999); 120 pairs stay within five of them, and fill one.
    assert np.abs(correlation).max() < 5 / np.sqrt(59_999)
    assert 0.8 < correlation.std() * np.sqrt(59_999) < 1.2
    # Unlike a rotation or a reversal of another, an order has no neighbours in common with it.
    neighbours = [set(itertools.pairwise(order)) for order in orders]
    assert max(len(neighbours[0] & other) for other in neighbours[1:]) < 10


def test_an_order_follows_from_seed_and_epoch_alone() -> None:
    plan = Plan(500, 32, seed=7)
    forwards = [plan.order(epoch).copy() for epoch in range(5)]
    backwards = [Plan(500, 16, seed=7).order(epoch) for epoch in reversed(range(5))]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    # Frozen: a resume under a later numpy must find the same order.
    assert Plan(10, 2, seed=1).order(2).tolist() == [4, 2, 0, 6, 1, 5, 9, 8, 7, 3]


def test_the_steps_of_an_epoch_train_each_image_once() -> None:
    plan = Plan(103, 25, seed=1)
    assert plan.steps_per_epoch == 5
    for epoch in range(3):
        steps = [plan.indices(5 * epoch + step, 1)[0] for step in range(5)]
        assert [len(step) for step in steps] == [25, 25, 25, 25, 3]
        np.testing.assert_array_equal(np.concatenate(steps), plan.order(epoch))


def test_a_last_batch_that_is_too_small_for_the_replicas_is_left_out() -> None:
    assert Plan(101, 25, seed=0, shares=1).steps_per_epoch == 5
    assert Plan(101, 25, seed=0, shares=2).steps_per_epoch == 4
    assert Plan(102, 25, seed=0, shares=2).steps_per_epoch == 5
    blocks = cut(Plan(101, 25, seed=0, shares=2), 0, 12, most=100)
    assert blocks == [(0, 4), (4, 4), (8, 4)]


@pytest.mark.parametrize(("images", "batch"), [(100, 1), (1, 64)])
def test_a_batch_too_small_for_the_replicas_is_refused(images: int, batch: int) -> None:
    with pytest.raises(UsageError, match=f"--batch-size {batch} of {images} training images is too small"):
        Plan(images, batch, seed=0, shares=2)


@pytest.mark.parametrize("images", [100, 103, 20])  # without and with a ragged batch, and nothing but one
@pytest.mark.parametrize("most", [1, 2, 3, 64])
@pytest.mark.parametrize("periods", [(), (0, 0), (7,), (3, 4)])
@pytest.mark.parametrize("begin", [0, 1, 4, 5, 17])
def test_blocks_cover_all_steps_once_within_their_limits(
    images: int, most: int, periods: tuple[int, ...], begin: int
) -> None:
    plan, end = Plan(images, 25, seed=0), 33
    blocks = cut(plan, begin, end, most, periods)
    steps = [step for first, count in blocks for step in range(first, first + count)]
    assert steps == list(range(begin, end))
    for first, count in blocks:
        assert 1 <= count <= most
        inner = range(first + 1, first + count)
        assert not any(step % plan.steps_per_epoch == 0 for step in inner)
        assert not any(step % period == 0 for step in inner for period in periods if period)
        # All steps of a block have equal batches, as it is one array.
        assert plan.indices(first, count).shape[0] == count
        assert plan.num_images(first, count) == plan.indices(first, count).size


def test_blocks_are_as_long_as_they_may_be() -> None:
    assert cut(Plan(100, 25, seed=0), 0, 8, most=64) == [(0, 4), (4, 4)]
    assert cut(Plan(103, 25, seed=0), 0, 10, most=64) == [(0, 4), (4, 1), (5, 4), (9, 1)]
    assert cut(Plan(1000, 25, seed=0), 3, 40, 16, (10,)) == [(3, 7), (10, 10), (20, 10), (30, 10)]


def delivered(feed: Feed, blocks: list[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of every step, taken from the blocks inside the graph."""
    dataset = feed.dataset(blocks)
    take = tf.function(
        feed.take, input_signature=(dataset.element_spec, *[tf.TensorSpec(None, tf.int32)] * 2)
    )
    steps = []
    for (_, count), block in zip(blocks, dataset, strict=True):
        num_steps, size = feed.shape(block).numpy()
        assert num_steps == count
        steps += [take(block, tf.constant(step), tf.range(size)) for step in range(count)]
    return [(images.numpy(), labels.numpy()) for images, labels in steps]


@pytest.mark.parametrize("kind", [ResidentFeed, StreamingFeed])
@pytest.mark.parametrize("most", [1, 3, 64])
def test_a_feed_delivers_the_plan(kind: type, most: int) -> None:
    plan = Plan(len(SPLIT), 25, seed=3)
    steps = delivered(kind(SPLIT, plan), cut(plan, 2, 11, most))
    assert len(steps) == 9
    for step, (images, labels) in enumerate(steps, start=2):
        (rows,) = plan.indices(step, 1)
        np.testing.assert_array_equal(images, SPLIT.images[rows])
        np.testing.assert_array_equal(labels, SPLIT.labels[rows])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("kind", [ResidentFeed, StreamingFeed])
def test_replicas_take_disjoint_parts_of_a_step(kind: type) -> None:
    plan = Plan(len(SPLIT), 25, seed=3)
    feed = kind(SPLIT, plan)
    (block,) = feed.dataset([(0, 2)])
    whole = feed.take(block, tf.constant(1), tf.range(25))[0].numpy()
    parts = [feed.take(block, tf.constant(1), tf.range(replica, 25, 2))[0].numpy() for replica in range(2)]
    np.testing.assert_array_equal(parts[0], whole[0::2])
    np.testing.assert_array_equal(parts[1], whole[1::2])


def test_a_mapped_file_is_streamed(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", SPLIT.images)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), SPLIT.labels)
    plan = Plan(len(SPLIT), 25, seed=3)
    for (one, _), (other, _) in zip(
        delivered(StreamingFeed(mapped, plan), cut(plan, 0, 5, 64)),
        delivered(StreamingFeed(SPLIT, plan), cut(plan, 0, 5, 64)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


class InBuffers(Plan):
    """A plan that shuffles by buffers of a few images."""

    def __init__(self, *args: int, buffer_images: int = 40) -> None:
        super().__init__(*args)
        self.shuffle = Shuffle(*args[::2], chunk_images=buffer_images // 8, buffer_images=buffer_images)


@pytest.mark.parametrize(("begin", "most"), [(0, 64), (7, 1)])
def test_both_feeds_deliver_the_same_of_data_that_fill_several_buffers(begin: int, most: int) -> None:
    plan = InBuffers(len(SPLIT), 25, 3)
    assert plan.shuffle.num_buffers == 3
    # Steps of 25 lie across the buffers' ends, and those of 3 epochs across the epochs'.
    blocks = cut(plan, begin, 15, most)
    steps = [delivered(kind(SPLIT, plan), blocks) for kind in (ResidentFeed, StreamingFeed)]
    for step, (resident, streamed) in enumerate(zip(*steps, strict=True), start=begin):
        (rows,) = plan.indices(step, 1)
        for one, other, whole in zip(resident, streamed, (SPLIT.images, SPLIT.labels), strict=True):
            np.testing.assert_array_equal(one, whole[rows])
            np.testing.assert_array_equal(other, whole[rows])


class Watched(np.ndarray):
    """An array that knows which of its rows were asked for."""

    asked: ClassVar[list[slice]] = []

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.asked.append(rows)
        return np.asarray(self)[rows]


def test_a_resume_within_an_epoch_reads_only_what_is_left_of_its_buffer_and_the_next() -> None:
    split = Split(SPLIT.images.view(Watched), SPLIT.labels)
    plan = InBuffers(len(SPLIT), 5, 3)
    plan.shuffle = Shuffle(len(SPLIT), 3, chunk_images=2, buffer_images=10)
    Watched.asked.clear()
    (step,) = delivered(StreamingFeed(split, plan), [(12, 1)])
    np.testing.assert_array_equal(step[0], SPLIT.images[plan.indices(12, 1)[0]])
    # One step may lie in two buffers, and the one after them is read ahead.
    assert 10 <= sum(rows.stop - rows.start for rows in Watched.asked) <= 30
    assert all(rows.stop - rows.start <= 2 for rows in Watched.asked)


def test_data_of_one_buffer_are_read_once_for_all_epochs() -> None:
    split = Split(SPLIT.images.view(Watched), SPLIT.labels)
    plan = Plan(len(SPLIT), 25, seed=3)
    Watched.asked.clear()
    assert len(delivered(StreamingFeed(split, plan), cut(plan, 0, 15, 64))) == 15
    assert sum(rows.stop - rows.start for rows in Watched.asked) == len(SPLIT)


def test_streaming_a_mapped_file_keeps_memory_flat(tmp_path: Path) -> None:
    count = 100_000  # 78 MB
    write_idx(tmp_path / "images", np.ones((count, 28, 28), np.uint8))
    images = read_idx(tmp_path / "images", mmap=True)
    plan = InBuffers(count, 500, 0, buffer_images=4096)
    dataset = StreamingFeed(Split(images, np.zeros(count, np.uint8)), plan).dataset(cut(plan, 0, 200, 4))
    before = mapped_bytes()
    grown = [mapped_bytes() - before for _ in dataset]
    assert len(grown) == 50
    assert max(grown) < 8e6
    # The measure works: who reads it all at once has it all in memory.
    assert images.max() == 1
    assert mapped_bytes() - before > 70e6


@pytest.mark.parametrize("kind", [ResidentFeed, StreamingFeed])
def test_nothing_is_tuned_that_a_dropped_iterator_would_wait_for(kind: type[Feed]) -> None:
    plan = Plan(len(SPLIT), 8, seed=0)
    dataset = kind(SPLIT, plan).dataset(plan.blocks(0, 4, 2, ()))
    assert dataset.options().autotune.enabled is False
