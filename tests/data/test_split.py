"""A split holds images and their labels, and nothing else."""

import numpy as np
import pytest

from mnist_core.data.split import Split
from mnist_core.errors import InputError

IMAGES, LABELS = np.zeros((4, 28, 28), np.uint8), np.array([0, 9, 3, 1])


def test_labels_of_any_integer_type_are_taken() -> None:
    assert Split(IMAGES, LABELS).labels.dtype == np.uint8
    assert len(Split(IMAGES[:0], LABELS[:0])) == 0


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (IMAGES / np.float32(255), LABELS, "images: float32"),
        (IMAGES[..., np.newaxis], LABELS, "uint8 .n, 28, 28. needed"),
        (IMAGES[:, 2:], LABELS, "images: uint8 .4, 26, 28."),
        (IMAGES, LABELS + 1, "labels 1 to 10, 0 to 9 needed"),
        (IMAGES, LABELS[:3], "4 labels, one for each image"),
        (IMAGES, np.eye(10, dtype=np.uint8)[LABELS], "labels: uint8 .4, 10."),
        (IMAGES, LABELS.astype(float), "labels: float64"),
    ],
)
def test_anything_else_is_refused(images: np.ndarray, labels: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Split(images, labels)
