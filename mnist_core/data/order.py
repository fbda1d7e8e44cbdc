"""The order of the images: random, yet read from a file of any size in long pieces.

An epoch cuts the file into chunks of neighbouring images, puts the chunks into a random order, fills one
buffer after another with the next of them, and puts the images of each buffer into a random order. Images
that fit one buffer, such as MNIST's, are so given a full permutation. Of more, each comes once an epoch all
the same, anywhere in it, but together with its chunk's: within a buffer's length of one another. The method
is that of CorgiPile (Xu et al. 2022, "In-Database Machine Learning with CorgiPile: Stochastic Gradient
Descent without Full Data Shuffle"), which shows that SGD converges with it as with a full permutation.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

CHUNK_IMAGES = 256  # 200 kB of a file
BUFFER_IMAGES = 65_536  # 51 MB
# Parts of the generator's key, so that chunks and images get different random numbers.
IMAGES, CHUNKS = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class Buffer:
    """Images that are shuffled together.

    Attributes:
      chunks: where they lie, as ``(begin, end)`` in ascending order.
      order: int32 ``[n]``, a permutation of them, counted as they lie one after another in the chunks.
      indices: int32 ``[n]``, the same permutation counted in the whole file.
    """

    chunks: tuple[tuple[int, int], ...]
    order: np.ndarray
    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """The order of every epoch: a pure function of (seed, epoch), each image once.

    Buffers are counted through all epochs. Any of them can be had without those before it.

    Args:
      chunk_images, buffer_images: the most in a chunk and in a buffer; less where they divide unevenly.
    """

    num_images: int
    seed: int
    chunk_images: int = CHUNK_IMAGES
    buffer_images: int = BUFFER_IMAGES

    @property
    def num_buffers(self) -> int:
        """Buffers in an epoch."""
        return -(-self.num_images // self.buffer_images)

    def parts(self, epoch: int, begin: int, end: int) -> Iterator[tuple[int, slice]]:
        """Yields the places ``begin`` to ``end`` of an epoch as ``(buffer, places in its order)``."""
        starts = _epoch(self, epoch).starts
        first = int(np.searchsorted(starts, begin, side="right")) - 1
        last = int(np.searchsorted(starts, end, side="left"))
        for number in range(first, last):
            low, high = int(starts[number]), int(starts[number + 1])
            yield epoch * self.num_buffers + number, slice(max(begin - low, 0), min(end, high) - low)

    def indices(self, epoch: int, begin: int, end: int) -> np.ndarray:
        """int32 ``[end - begin]``: the images at these places of an epoch."""
        return np.concatenate(
            [self.buffer(number).indices[places] for number, places in self.parts(epoch, begin, end)]
        )

    def buffer(self, number: int) -> Buffer:
        """The images of a buffer."""
        return _buffer(self, number)


@dataclasses.dataclass(frozen=True, eq=False)
class _Epoch:
    chunks: list[np.ndarray]  # of each buffer, ascending
    bounds: np.ndarray  # of all chunks in the file
    starts: np.ndarray  # of the buffers in the order, and its end


# Kept for the blocks of a buffer; tf.data asks from a thread of its own, so the caches must be thread-safe.
@functools.lru_cache(maxsize=2)
def _epoch(shuffle: Shuffle, epoch: int) -> _Epoch:
    # Sizes differ by one at most: no chunk or buffer is a small rest, whose images would be badly mixed.
    count = max(-(-shuffle.num_images // shuffle.chunk_images), shuffle.num_buffers)
    bounds = np.arange(count + 1) * shuffle.num_images // count
    drawn = _permutation(count, shuffle.seed, epoch, CHUNKS)
    chunks = [np.sort(part) for part in np.array_split(drawn, shuffle.num_buffers)]
    sizes = [np.diff(bounds)[part].sum() for part in chunks]
    return _Epoch(chunks, bounds, np.concatenate([[0], np.cumsum(sizes)]))


@functools.lru_cache(maxsize=4)
def _buffer(shuffle: Shuffle, number: int) -> Buffer:
    epoch, number = divmod(number, shuffle.num_buffers)
    drawn = _epoch(shuffle, epoch)
    chunks = tuple((int(drawn.bounds[i]), int(drawn.bounds[i + 1])) for i in drawn.chunks[number])
    places = np.concatenate([np.arange(begin, end, dtype=np.int32) for begin, end in chunks])
    order = _permutation(len(places), shuffle.seed, epoch, IMAGES, number)
    return Buffer(chunks, order, places[order])


def _permutation(size: int, seed: int, epoch: int, kind: int, number: int = 0) -> np.ndarray:
    """int32 ``[size]``; every (seed, epoch, kind, number) has random numbers of its own."""
    # The raw stream of a counter-based generator is fixed for good, unlike numpy's shuffles.
    keys = np.random.Philox(key=[seed, epoch], counter=[0, 0, kind, number]).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int32)
