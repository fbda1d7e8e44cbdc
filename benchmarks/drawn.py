"""Files of as many drawn digits as asked for, to measure on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mnist_core.data.datasets import FILES
from mnist_core.data.idx import write_idx, write_idx_pieces
from mnist_core.data.split import SIDE
from mnist_core.data.synthetic import draw
from mnist_core.errors import UsageError

IMAGE_BYTES = SIDE * SIDE + 1
SPARE_BYTES = 1 << 30
DRAWN = 10_000  # images drawn; more are these, moved


def write_dataset(folder: Path, count: int) -> None:
    """Four IDX files of ``count`` training images and a few to test with.

    Raises:
      UsageError: the disk has no room for them.
    """
    needed, free = count * IMAGE_BYTES + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{count:,} images and room to spare need {needed / 1e9:,.1f} GB, but the disk of {folder} has "
            f"{free / 1e9:,.1f} GB; lower --images, or name another disk with --folder"
        )
    images, labels = draw(min(count, DRAWN), seed=0)

    def moved() -> Iterator[np.ndarray]:
        for i, begin in enumerate(range(0, count, len(images))):
            yield np.roll(images, (i % 5 - 2, i // 5 % 5 - 2), axis=(1, 2))[: count - begin]

    write_idx_pieces(folder / FILES[0], (count, SIDE, SIDE), moved())
    write_idx_pieces(folder / FILES[1], (count,), [np.resize(labels, count)])
    write_idx(folder / FILES[2], images[:1000])
    write_idx(folder / FILES[3], labels[:1000])
    with (folder / FILES[0]).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
