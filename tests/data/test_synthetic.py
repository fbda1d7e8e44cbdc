"""The drawn digits: seeded, balanced, and alike enough to real ones to be learned from."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from mnist_core.data.synthetic import draw


def test_images_and_labels_have_mnists_form():
    images, labels = draw(25, seed=3)
    assert images.shape == (25, 28, 28)
    assert labels.shape == (25,)
    assert images.dtype == labels.dtype == np.uint8


def test_the_seed_decides_the_images():
    images, labels = draw(30, seed=7)
    again, same_labels = draw(30, seed=7)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, same_labels)
    assert (draw(30, seed=8)[0] != images).any()


def test_no_two_images_are_equal():
    images, _ = draw(300, seed=0)
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300


def test_digits_are_balanced_and_mixed():
    _, labels = draw(203, seed=0)
    counts = np.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert len(set(labels[:40])) == 10


def test_any_small_count_is_drawn():
    for count in range(12):
        assert draw(count, seed=0)[0].shape == (count, 28, 28)


def test_white_strokes_lie_on_black_inside_the_frame():
    images, _ = draw(500, seed=0)
    ink = images > 128
    share = ink.mean(axis=(1, 2))
    assert share.min() > 0.03
    assert share.max() < 0.35
    border = np.ones((28, 28), bool)
    border[1:-1, 1:-1] = False
    assert ink[:, border].mean() < 0.002


def test_a_simple_learner_tells_the_digits_apart():
    images, labels = draw(2000, seed=0)
    unseen, answers = draw(500, seed=1)
    learner = KNeighborsClassifier(n_neighbors=1).fit(images.reshape(2000, -1) / 255.0, labels)
    assert learner.score(unseen.reshape(500, -1) / 255.0, answers) > 0.97
