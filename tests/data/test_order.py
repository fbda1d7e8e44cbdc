"""Each image once an epoch, well mixed, in an order that can be had from any place on."""

import itertools

import numpy as np
import pytest

from mnist_core.data.order import BUFFER_IMAGES, CHUNK_IMAGES, Shuffle

SMALL = {"chunk_images": 4, "buffer_images": 64}


def order(shuffle: Shuffle, epoch: int = 0) -> np.ndarray:
    return shuffle.indices(epoch, 0, shuffle.num_images)


@pytest.mark.parametrize("count", [1, 4, 63, 64, 65, 128, 1000, 1027])
def test_each_image_comes_once_an_epoch(count: int) -> None:
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(order(Shuffle(count, 5, **SMALL), epoch)), np.arange(count))


def test_two_million_images_come_once() -> None:
    found = order(Shuffle(2_000_003, 0))
    assert found.dtype == np.int32
    assert len(found) == 2_000_003
    assert (np.bincount(found) == 1).all()


def test_data_of_one_buffer_get_a_full_permutation() -> None:
    # The same as ever: a run that a former version began goes on as it would have.
    keys = np.random.Philox(key=[3, 7]).random_raw(BUFFER_IMAGES)
    np.testing.assert_array_equal(order(Shuffle(BUFFER_IMAGES, 3), 7), np.argsort(keys, kind="stable"))
    assert Shuffle(BUFFER_IMAGES, 3).num_buffers == 1
    assert Shuffle(BUFFER_IMAGES + 1, 3).num_buffers == 2


def test_the_order_is_frozen() -> None:
    # A resume under a later numpy must find the same.
    shuffle = Shuffle(12, 1, chunk_images=2, buffer_images=6)
    assert order(shuffle, 2).tolist() == [10, 6, 2, 3, 11, 7, 8, 9, 1, 0, 4, 5]


def test_every_place_can_be_had_without_those_before_it() -> None:
    whole = order(Shuffle(1027, 2, **SMALL), 3)
    for begin, end in [(0, 1), (63, 65), (500, 700), (1000, 1027), (1026, 1027), (0, 1027)]:
        np.testing.assert_array_equal(Shuffle(1027, 2, **SMALL).indices(3, begin, end), whole[begin:end])


@pytest.mark.parametrize("count", [65, 1000, 1027])
def test_a_buffer_is_what_its_chunks_hold(count: int) -> None:
    shuffle = Shuffle(count, 2, **SMALL)
    buffers = [shuffle.buffer(shuffle.num_buffers + number) for number in range(shuffle.num_buffers)]
    for buffer in buffers:
        rows = np.concatenate([np.arange(begin, end) for begin, end in buffer.chunks])
        np.testing.assert_array_equal(rows[buffer.order], buffer.indices)
        # Ascending, as a disk likes it best.
        assert (np.diff(rows) > 0).all()
        assert len(rows) <= 64
        assert all(3 <= end - begin <= 4 for begin, end in buffer.chunks)
    # None is a small rest, whose images would be neighbours in the file.
    sizes = [len(buffer.order) for buffer in buffers]
    assert max(sizes) - min(sizes) <= 8
    np.testing.assert_array_equal(np.concatenate([buffer.indices for buffer in buffers]), order(shuffle, 1))


def test_an_image_comes_anywhere_in_an_epoch_and_epochs_and_seeds_are_unlike() -> None:
    count, epochs = 1024, 400
    places = np.empty((epochs, count))
    for number in range(epochs):
        epoch, seed = divmod(number, 2)
        places[number, order(Shuffle(count, seed, **SMALL), epoch)] = np.arange(count)
    # Of a uniform place: a mean of half, with the standard deviation of so many draws; the largest of 1,024.
    means = (places.mean(axis=0) / count - 0.5) * np.sqrt(12 * epochs)
    assert np.abs(means).max() < 5
    assert 0.9 < means.std() < 1.1
    correlation = np.corrcoef(places)[np.triu_indices(epochs, 1)]
    assert abs(correlation.mean()) < 0.01


def test_neighbours_in_the_file_are_no_neighbours_in_the_order() -> None:
    found = order(Shuffle(20 * BUFFER_IMAGES, 0))
    near = sum(abs(int(one) - int(other)) < CHUNK_IMAGES for one, other in itertools.pairwise(found[:50_000]))
    # After an image comes one of the same chunk once in 256 times, as a buffer has so many chunks.
    assert near < 2 * 50_000 / 256


def test_a_sorted_file_gives_every_batch_all_digits() -> None:
    count = 10 * BUFFER_IMAGES
    labels = np.sort(np.arange(count) % 10)[order(Shuffle(count, 0))]
    shares = np.stack([(labels.reshape(-1, 1024) == digit).mean(axis=1) for digit in range(10)])
    # Of a tenth: the spread of 256 chunks in a buffer and that of 1,024 images in a batch.
    assert np.abs(shares - 0.1).max() < 6 * np.sqrt(0.09 / 256 + 0.09 / 1024)
