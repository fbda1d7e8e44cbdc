"""Images with their labels: a split, and the two of a dataset."""

import dataclasses

import numpy as np

from mnist_core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 ``[n, 28, 28]``, white on black, and their labels, uint8 ``[n]``."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What was really loaded: ``mnist``, ``digits``, ``synthetic``, or the name of the folder or file."""

    name: str
    train: Split
    test: Split


def hold_out(train: Split, size: int) -> tuple[Split, Split]:
    """Cuts the last ``size`` images off for validation: (training, validation), as views.

    Raises:
      UsageError: no training image would be left.
    """
    count = len(train) - size
    if not 1 <= count <= len(train):
        raise UsageError(f"--validation-size must be 0 to {len(train) - 1} here, not {size}")
    cuts = (slice(None, count), slice(count, None))
    training, validation = (Split(train.images[cut], train.labels[cut]) for cut in cuts)
    return training, validation
