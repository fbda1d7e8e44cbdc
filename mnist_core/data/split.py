"""Images with their labels: a split, and the two of a dataset."""

import dataclasses

import numpy as np

from mnist_core.errors import InputError, UsageError, warn

SIDE = 28
# So many images in random order have all ten digits.
ENOUGH = 200
# And so many more than half of them.
ENOUGH_FOR_HALF = 30


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 ``[n, 28, 28]``, white on black, and their labels, integers from 0 to 9, kept as uint8.

    Raises:
      InputError: they are something else.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = np.asanyarray(self.images), np.asanyarray(self.labels)
        check(images, labels)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.uint8, copy=False))

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What is trained and tested on.

    Attributes:
      name: what was loaded: a known dataset, a folder, a file or yours.
      validation: images that watch the run; None: some of the training images are held out for that.

    Raises:
      UsageError: one is no split.
    """

    name: str
    train: Split
    test: Split
    validation: Split | None = None

    def __post_init__(self) -> None:
        splits = {"train": self.train, "test": self.test}
        if self.validation is not None:
            splits["validation"] = self.validation
        for name, given in splits.items():
            if not isinstance(given, Split):
                raise UsageError(f"{name} must be a Split(images, labels), not a {type(given).__name__}")

    def training_and_validation(self, size: int | None) -> tuple[Split, Split]:
        """The two as `hold_out` cuts them, or the dataset's own.

        Raises:
          UsageError: no training image would be left, or a size is given where nothing is to be cut off.
        """
        if self.validation is None:
            return hold_out(self.train, size)
        if size is not None:
            raise UsageError("these data have validation images of their own; leave validation_size out")
        return self.train, self.validation


def check(images: np.ndarray, labels: np.ndarray, where: tuple[str, str] = ("images", "labels")) -> None:
    """Checks that the arrays are images and their labels; ``where`` says whence they came.

    Raises:
      InputError: they are not; the message names which.
    """
    check_images(images, where[0])
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise InputError(
            f"{where[1]}: {labels.dtype} {list(labels.shape)}, needed are {len(images)} labels, "
            f"one for each image of {where[0]}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= 9:
        raise InputError(f"{where[1]}: labels {labels.min()} to {labels.max()}, 0 to 9 needed")


def check_images(images: np.ndarray, where: str = "images") -> None:
    """Checks that an array is uint8 ``[n, 28, 28]``.

    Raises:
      InputError: it is something else.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise InputError(f"{where}: {images.dtype} {list(images.shape)}, uint8 [n, {SIDE}, {SIDE}] needed")


def hold_out(train: Split, size: int | None) -> tuple[Split, Split]:
    """Cuts the last ``size`` images off for validation, a twelfth for None: (training, validation), as views.

    Says so where they lack a digit, as they do of a file that is sorted.

    Raises:
      UsageError: no training image would be left.
    """
    if size is None:
        size = len(train) // 12
    count = len(train) - size
    if not 1 <= count <= len(train):
        raise UsageError(f"--validation-size must be 0 to {len(train) - 1} here, not {size}")
    cuts = (slice(None, count), slice(count, None))
    training, validation = (Split(train.images[cut], train.labels[cut]) for cut in cuts)
    lacking = np.setdiff1d(training.labels, validation.labels)
    is_sorted = size >= ENOUGH_FOR_HALF and 2 * len(lacking) >= len(np.unique(training.labels))
    if is_sorted or (size >= ENOUGH and len(lacking)):
        digits = ", ".join(map(str, lacking))
        warn(f"warning: the last {size} images, which validate, have no {digits}; shuffle the data")
    return training, validation
