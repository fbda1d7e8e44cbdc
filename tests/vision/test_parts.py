"""The parts of a mask are OpenCV's, wherever in it the ink lies."""

import cv2
import numpy as np
import pytest

from mnist_core.vision.parts import components, digit_mask, only


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


def test_a_cloud_of_grains_is_no_digit_and_a_stroke_among_grains_is_one():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :200]
    cloud = ((np.hypot(x - 100, y - 100) < 60) & (rng.random((200, 200)) < 0.25)).astype(np.uint8)
    cloud = cv2.dilate(cloud, np.ones((2, 2), np.uint8)) & (rng.random((200, 200)) < 0.6)
    assert digit_mask(cloud) is None
    stroke = cv2.line(np.zeros_like(cloud), (100, 50), (95, 150), 1, 9)
    assert digit_mask(stroke | (cloud & (rng.random((200, 200)) < 0.03))) is not None
