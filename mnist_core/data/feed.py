"""The order of the images, and its delivery to the device in blocks of steps."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from mnist_core.data.datasets import Split
from mnist_core.errors import UsageError


class Plan:
    """Which images each step trains on: a pure function of (seed, epoch), a full permutation each epoch.

    The last step of an epoch takes what is left, so its batch may be smaller.

    Args:
      num_images: size of the training split.
      batch_size: images in a step, over all micro-batches, parts and replicas.
      shares: replicas, or parts, among which a step is shared out; a last batch too small to give each an
        image is left out.

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
        self._seed = seed

    def order(self, epoch: int) -> np.ndarray:
        """int32 ``[num_images]``: the permutation of one epoch."""
        return _permutation(self._num_images, self._seed, epoch)

    def indices(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 ``[num_steps, batch]``: the images of steps that lie in one epoch and have equal batches."""
        epoch, begin = divmod(first_step, self.steps_per_epoch)
        begin *= self.batch_size
        return self.order(epoch)[begin : begin + num_steps * self.batch_size].reshape(num_steps, -1)

    def images(self, first_step: int, num_steps: int) -> int:
        """How many images these steps train on."""
        begin = first_step % self.steps_per_epoch * self.batch_size
        return min(begin + num_steps * self.batch_size, self._num_images) - begin

    def blocks(
        self, first_step: int, end_step: int, most: int, periods: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Yields ``(first_step, num_steps)`` that cover the steps up to ``end_step``.

        A block has at most ``most`` steps and ends at every multiple of a period; one epoch's ragged last
        step is a block of its own.
        """
        step = first_step
        while step < end_step:
            epoch_end = (step // self.steps_per_epoch + 1) * self.steps_per_epoch
            ends = [step + most, end_step, epoch_end]
            if self._ragged and step < epoch_end - 1:
                ends.append(epoch_end - 1)
            ends += [(step // period + 1) * period for period in periods if period]
            yield step, min(ends) - step
            step = min(ends)


# Kept for the blocks of an epoch; tf.data asks from a thread of its own, so the cache must be thread-safe.
@functools.lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    # The raw stream of a counter-based generator is fixed for good, unlike numpy's shuffles.
    keys = np.random.Philox(key=[seed, epoch]).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int32)


class Feed(Protocol):
    """Delivers blocks, and takes a step's images from one inside the graph."""

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        """One element for each block, in order."""

    def take(self, block: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 ``[n, 28, 28]`` and int32 ``[n]``: images and labels at ``rows`` of the block's ``step``."""

    def shape(self, block: tf.Tensor) -> tf.Tensor:
        """int32 ``[2]``: steps in the block, images in each of them."""


class ResidentFeed:
    """All images stay on the device as uint8; `tf.data` delivers only which to take."""

    def __init__(self, split: Split, plan: Plan) -> None:
        self._plan = plan
        self._images = tf.constant(split.images)
        self._labels = tf.constant(split.labels.astype(np.int32))

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        def elements() -> Iterator[np.ndarray]:
            for block in blocks:
                yield self._plan.indices(*block)

        spec = tf.TensorSpec([None, None], tf.int32)
        return tf.data.Dataset.from_generator(elements, output_signature=spec).prefetch(4)

    def take(self, block: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.gather(block[step], rows)
        return tf.gather(self._images, indices), tf.gather(self._labels, indices)

    def shape(self, block: tf.Tensor) -> tf.Tensor:
        return tf.shape(block)


class StreamingFeed:
    """`tf.data` reads the images from where they lie, such as a memory-mapped file; memory stays flat."""

    def __init__(self, split: Split, plan: Plan) -> None:
        self._plan = plan
        self._split = split

    def dataset(self, blocks: Iterable[tuple[int, int]]) -> tf.data.Dataset:
        def elements() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for block in blocks:
                indices = self._plan.indices(*block)
                yield self._split.images[indices], self._split.labels[indices].astype(np.int32)

        height, width = self._split.images.shape[1:]
        spec = (
            tf.TensorSpec([None, None, height, width], tf.uint8),
            tf.TensorSpec([None, None], tf.int32),
        )
        return tf.data.Dataset.from_generator(elements, output_signature=spec).prefetch(2)

    def take(
        self, block: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = block
        return tf.gather(images[step], rows), tf.gather(labels[step], rows)

    def shape(self, block: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return tf.shape(block[1])
