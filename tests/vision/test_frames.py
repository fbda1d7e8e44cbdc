"""Lines of boxes and tables are no ink, and what is written in them loses none."""

import cv2
import numpy as np
import pytest

from mnist_core.vision.frames import without_frames
from mnist_core.vision.ink import Look, ink_strength
from mnist_core.vision.sheet import Sheet

SHAPE = (200, 300)


def drawn(*lines: tuple[list[tuple[int, int]], int], closed: bool = False) -> np.ndarray:
    """uint8 [200, 300]: points and the pen that joins them."""
    mask = np.zeros(SHAPE, np.uint8)
    for points, pen in lines:
        cv2.polylines(mask, [np.int32(points)], closed, 1, pen)
    return mask


def seven(x: int, y: int = 60) -> np.ndarray:
    return drawn(([(x, y), (x + 40, y), (x + 15, y + 80)], 6))


def box(x: int, width: int = 110, pen: int = 3, angle: float = 0.0) -> np.ndarray:
    centre = (x + width / 2, 100)
    return drawn((cv2.boxPoints((centre, (width, 130), angle)).tolist(), pen), closed=True)


@pytest.mark.parametrize("pen", [1, 3, 7])
@pytest.mark.parametrize("angle", [0, 4, -8])
def test_a_box_goes_and_its_digit_stays_as_it_is(pen, angle):
    digit = seven(70)
    np.testing.assert_array_equal(without_frames(box(35, pen=pen, angle=angle) | digit), digit)


def test_the_lines_of_a_table_go():
    digits = seven(40) | seven(135) | seven(230)
    table = box(10, 95) | box(105, 95) | box(200, 95)
    np.testing.assert_array_equal(without_frames(table | digits), digits)


def test_of_a_digit_that_runs_into_a_table_nearly_all_stays():
    digit, table = seven(70, y=90), box(35) | box(145, 70) | box(215, 70)
    assert (digit & table).any()
    other = drawn(([(180, 60), (178, 140)], 6))
    left = without_frames(table | digit | other)
    assert (left & digit).sum() > 0.8 * digit.sum()
    assert not (left & ~(digit | other)).any()
    np.testing.assert_array_equal(left & other, other)


def test_a_sheet_with_a_box_on_it_stays():
    sheet = cv2.rectangle(np.zeros(SHAPE, np.uint8), (20, 20), (280, 180), 1, -1)
    mask = sheet & ~box(90) & ~seven(130)
    np.testing.assert_array_equal(without_frames(mask), mask)


def test_holes_of_a_pixel_or_two_are_no_cells():
    digit = np.ones((20, 12), np.uint8)
    for y, x in ((3, 3), (8, 6), (15, 4)):
        digit[y : y + 3, x : x + 3] = 0
        digit[y + 1, x + 1] = 1
    mask = np.pad(digit, 4)
    np.testing.assert_array_equal(without_frames(mask), mask)


def test_a_box_that_holds_only_what_it_is_joined_to_may_be_a_letter():
    mask = seven(70, y=90) | box(35)
    np.testing.assert_array_equal(without_frames(mask), mask)


def test_beside_a_box_of_its_size_that_holds_a_digit_it_is_one():
    holds, touched = box(10) | seven(45), box(150) | seven(185, y=90)
    left = without_frames(holds | touched)
    np.testing.assert_array_equal(left[:, :140], seven(45)[:, :140])
    digit = seven(185, y=90)
    assert not (left & ~(seven(45) | digit)).any()
    assert (left & digit).sum() > 0.8 * digit.sum()
    np.testing.assert_array_equal(without_frames(holds | box(150)), seven(45))


def test_a_digit_may_hang_on_the_line_of_its_box():
    zero = cv2.ellipse(np.zeros(SHAPE, np.uint8), (205, 66), (20, 28), 0, 0, 360, 1, 5)
    left = without_frames(box(10) | seven(45) | box(150) | zero)
    assert not (left & ~(seven(45) | zero)).any()
    assert (left & zero).sum() > 0.75 * zero.sum()


def test_beside_a_box_of_another_size_it_stays():
    other = box(150, width=70)
    np.testing.assert_array_equal(without_frames(box(10) | seven(45) | other), seven(45) | other)


def test_thin_zeros_beside_one_that_holds_something_are_no_boxes():
    zeros = np.zeros(SHAPE, np.uint8)
    for x in (60, 150, 240):
        cv2.ellipse(zeros, (x, 100), (30, 45), 0, 0, 360, 1, 3)
    left = without_frames(zeros | drawn(([(150, 80), (150, 120)], 4)))
    np.testing.assert_array_equal(left[:, :100], zeros[:, :100])
    np.testing.assert_array_equal(left[:, 200:], zeros[:, 200:])


@pytest.mark.parametrize(("gap", "blur"), [(2, 0.8), (3, 1.5), (4, 2.0)])
def test_what_stands_close_to_the_line_of_a_table_stays(gap, blur):
    picture = np.full((220, 360), 255, np.uint8)
    for x in (30, 130, 230):
        cv2.rectangle(picture, (x, 30), (x + 100, 190), 60, 3)
        cv2.ellipse(picture, (x + 60, 110), (22, 38), 0, 0, 360, 60, 6)
    x = 134 + gap
    picture[65:155, 133:225] = 255
    picture[65:155, x : x + 6] = 60
    sheet = Sheet.of(cv2.GaussianBlur(picture, (0, 0), blur))
    assert sheet.mask[70:150, x + 1 : x + 5].mean() > 0.9


def test_boxes_that_are_too_pale_to_be_whole_go_where_others_are():
    picture = np.full(SHAPE, 255, np.uint8)
    picture[(box(10) | seven(45) | seven(185)) > 0] = 60
    pale = np.flatnonzero((box(150) & ~seven(185)).ravel())
    picture.ravel()[pale] = np.where(np.arange(len(pale)) % 40 < 20, 205, 150)
    strength, threshold = ink_strength(picture, Look(dark=True, element=0.25))[1:]
    broken = (strength > threshold).astype(np.uint8)
    assert (without_frames(broken)[:, 150:] & box(150)[:, 150:]).sum() > 50
    sheet = Sheet.of(picture, Look(dark=True, element=0.25))
    assert not (sheet.mask & ~cv2.dilate(seven(45) | seven(185), np.ones((5, 5), np.uint8))).any()


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.zeros(SHAPE, np.uint8), id="nothing"),
        pytest.param(box(90), id="a box alone may be a 0"),
        pytest.param(box(90) | drawn(([(140, 95), (146, 101)], 4)), id="nor is a blot in it writing"),
        pytest.param(box(90) | drawn(([(90, 100), (200, 100)], 3)), id="an 8 of two boxes"),
        pytest.param(
            drawn(*[([(x, 0), (x, 199)], 1) for x in range(20, 300, 40)])
            | drawn(*[([(0, y), (299, y)], 1) for y in range(20, 200, 40)]),
            id="squared paper",
        ),
    ],
)
def test_what_is_no_box_with_writing_in_it_stays(mask):
    np.testing.assert_array_equal(without_frames(mask), mask)


def test_a_ring_around_writing_goes_like_a_box():
    ring = cv2.ellipse(np.zeros(SHAPE, np.uint8), (150, 100), (90, 85), 0, 0, 360, 1, 4)
    np.testing.assert_array_equal(without_frames(ring), ring)
    np.testing.assert_array_equal(without_frames(ring | seven(130)), seven(130))


def test_boxes_within_boxes_go():
    digit = seven(110)
    outer = drawn(([(20, 5), (280, 5), (280, 195), (20, 195)], 3), closed=True)
    np.testing.assert_array_equal(without_frames(outer | box(75) | digit), digit)
