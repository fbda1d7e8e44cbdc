"""The parts of a mask are OpenCV's, wherever in it the ink lies."""

import cv2
import numpy as np
import pytest

from mnist_core.vision.parts import components, only


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("box", [np.s_[:, :], np.s_[30:60, 5:20], np.s_[79:, 99:]])
def test_the_parts_are_those_of_the_whole_mask(share, box):
    rng = np.random.default_rng(0)
    mask = np.zeros((80, 100), np.uint8)
    mask[box] = rng.random(mask[box].shape) < share
    labels, stats = components(mask)
    _, expected, expected_stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    np.testing.assert_array_equal(stats, expected_stats[1:])
    np.testing.assert_array_equal(labels, expected)


def test_a_bare_mask_has_no_parts():
    labels, stats = components(np.zeros((7, 9), np.uint8))
    assert labels.shape == (7, 9)
    assert not labels.any()
    assert stats.shape == (0, 5)


def test_chosen_parts_stay():
    mask = np.zeros((5, 9), np.uint8)
    mask[1, 1:3] = mask[3, 6] = mask[0, 8] = 1
    labels, stats = components(mask)
    found = only(stats[:, 4] == 1, labels)
    assert found.dtype == np.uint8
    assert np.argwhere(found).tolist() == [[0, 8], [3, 6]]
