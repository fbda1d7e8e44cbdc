"""Which images each step trains on, and their delivery to the device in blocks of steps."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mnist_core.data.idx import release
from mnist_core.data.order import Shuffle
from mnist_core.data.split import Split
from mnist_core.errors import UsageError


class Plan:
    """Which images each step trains on: a pure function of (seed, epoch), each image once an epoch.

    The last step of an epoch takes what is left, so its batch may be smaller. `mnist_core.data.order`
    describes the shuffle.

    Args:
      num_images: size of the training split.
      batch_size: images in a step, over all micro-batches, parts and replicas.
      shares: replicas times parts; each gets an image of every step, so a smaller last batch is left out.

    Raises:
      UsageError: no batch gives each share an image.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, shares: int = 1) -> None:
        if min(num_images, batch_size) < shares:
            raise UsageError(
                f"--batch-size {batch_size} of {num_images} training images is too small to be shared by "
                f"{shares} replicas or --parts; each needs an image in every step"
            )
        full, rest = divmod(num_images, batch_size)
        self.batch_size = batch_size
        self.steps_per_epoch = full + (rest >= shares if rest else 0)
        self._ragged = bool(rest) and self.steps_per_epoch > full
        self._num_images = num_images
        self.shuffle = Shuffle(num_images, seed)

    def order(self, epoch: int) -> np.ndarray:
        """int32 ``[num_images]``: the permutation of one epoch."""
        return self.shuffle.indices(epoch, 0, self._num_images)

    def indices(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 ``[num_steps, batch]``: the images of steps that lie in one epoch and have equal batches."""
        return self.shuffle.indices(*self.places(first_step, num_steps)).reshape(num_steps, -1)

    def places(self, first_step: int, num_steps: int) -> tuple[int, int, int]:
        """``(epoch, begin, end)``: where these steps, of one epoch, lie in its order."""
        epoch, step = divmod(first_step, self.steps_per_epoch)
        begin = step * self.batch_size
        return epoch, begin, min(begin + num_steps * self.batch_size, self._num_images)

    def num_images(self, first_step: int, num_steps: int) -> int:
        """How many images these steps train on."""
        _, begin, end = self.places(first_step, num_steps)
        return end - begin

    def blocks(
        self, first_step: int, end_step: int, max_steps: int, periods: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Yields ``(first_step, num_steps)`` that cover the steps up to ``end_step``.

        A block has at most ``max_steps`` steps and ends at every multiple of a period; one epoch's ragged
        last step is a block of its own.
        """
        step = first_step
        while step < end_step:
            epoch_end = (step // self.steps_per_epoch + 1) * self.steps_per_epoch
            ends = [step + max_steps, end_step, epoch_end]
            if self._ragged and step < epoch_end - 1:
                ends.append(epoch_end - 1)
            ends += [(step // period + 1) * period for period in periods if period]
            yield step, min(ends) - step
            step = min(ends)


class Feed(Protocol):
    """Delivers blocks, and takes a step's images from one inside the graph.

    The element that stands for a block of K steps of B images is each feed's own choice.
    """

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        """One element for each block, in order; to be iterated once."""

    def take(self, element: Any, step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 ``[n, 28, 28]`` and int32 ``[n]``: images and labels at ``rows`` of ``step``, from 0."""

    def shape(self, element: Any) -> tf.Tensor:
        """int32 ``[2]``: steps in the element, images in each of them."""


class ResidentFeed:
    """All images stay on the device as uint8; `tf.data` delivers only which to take.

    An element is int32 ``[K, B]``, the numbers of the images.
    """

    def __init__(self, split: Split, plan: Plan) -> None:
        self._plan = plan
        self._images = tf.constant(split.images)
        self._labels = tf.constant(split.labels.astype(np.int32))

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        # TensorFlow never forgets a generator, nor what that refers to: the images must not be among it.
        plan = self._plan

        def elements() -> Iterator[np.ndarray]:
            for block in blocks:
                yield plan.indices(*block)

        spec = tf.TensorSpec([None, None], tf.int32)
        return prefetched(tf.data.Dataset.from_generator(elements, output_signature=spec), 4)

    def take(self, element: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.gather(element[step], rows)
        return tf.gather(self._images, indices), tf.gather(self._labels, indices)

    def shape(self, element: tf.Tensor) -> tf.Tensor:
        return tf.shape(element)


class StreamingFeed:
    """`tf.data` reads the images from where they lie, such as a memory-mapped file; memory stays flat.

    An element is uint8 ``[K, B, 28, 28]`` and int32 ``[K, B]``, the images and their labels. The feed holds
    two buffers of the order's images, 51 MB each: one in use, the next being read by a thread.
    """

    def __init__(self, split: Split, plan: Plan) -> None:
        self._plan = plan
        self._split = split

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        # What the generator keeps, as above, is the user's own array or file, of which there is no copy.
        plan, split = self._plan, self._split
        shuffle = plan.shuffle

        def elements() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            with ThreadPoolExecutor(1) as thread:
                reader = _Reader(split, shuffle, thread)
                for first_step, num_steps in blocks:
                    parts = [
                        reader.take(number, shuffle.buffer(number).order[places])
                        for number, places in shuffle.parts(*plan.places(first_step, num_steps))
                    ]
                    # A block that lies in one buffer, as most do, isn't copied again.
                    images, labels = (
                        parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
                    )
                    yield images.reshape(num_steps, -1, *images.shape[1:]), labels.reshape(num_steps, -1)

        height, width = self._split.images.shape[1:]
        spec = (
            tf.TensorSpec([None, None, height, width], tf.uint8),
            tf.TensorSpec([None, None], tf.int32),
        )
        return prefetched(tf.data.Dataset.from_generator(elements, output_signature=spec), 2)

    def take(
        self, element: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = element
        return tf.gather(images[step], rows), tf.gather(labels[step], rows)

    def shape(self, element: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return tf.shape(element[1])


def prefetched(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """A dataset with ``count`` of its elements ahead, and without `tf.data`'s tuner."""
    # Here is nothing to tune, and an iterator that is dropped may wait for the tuner's thread, which sleeps
    # for longer and longer: up to as long as the run took.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(count).with_options(options)


class _Reader:
    """Images of one buffer after another; while one is in use ``thread`` reads the next."""

    def __init__(self, split: Split, shuffle: Shuffle, thread: ThreadPoolExecutor) -> None:
        self._split = split
        self._shuffle = shuffle
        self._thread = thread
        self._held: dict[tuple[tuple[int, int], ...], Future[Split]] = {}

    def take(self, number: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 ``[n, 28, 28]`` and int32 ``[n]``: images and labels at ``places`` of a buffer."""
        # By their chunks, since data that fit one buffer have the same in every epoch.
        now, following = (self._shuffle.buffer(number + ahead).chunks for ahead in (0, 1))
        self._held = {
            chunks: self._held.get(chunks) or self._thread.submit(self._read, chunks)
            for chunks in dict.fromkeys((now, following))
        }
        buffer = self._held[now].result()
        return buffer.images[places], buffer.labels[places].astype(np.int32)

    def _read(self, chunks: tuple[tuple[int, int], ...]) -> Split:
        size = sum(end - begin for begin, end in chunks)
        images = np.empty((size, *self._split.images.shape[1:]), np.uint8)
        labels = np.empty(size, np.uint8)
        filled = 0
        for begin, end in chunks:
            part = slice(filled, filled + end - begin)
            images[part], labels[part] = self._split.images[begin:end], self._split.labels[begin:end]
            filled = part.stop
            release(self._split.images)
        return Split(images, labels)
