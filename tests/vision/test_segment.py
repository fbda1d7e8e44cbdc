"""The parts of a page come in reading order, without what is no part of a digit; touching ones are cut."""

import cv2
import numpy as np
import pytest

from mnist_core.vision import page as pages
from mnist_core.vision import seams
from mnist_core.vision.parts import without_ruling
from mnist_core.vision.segment import Piece, pieces_of, rows_of
from mnist_core.vision.touching import resolved
from tests.vision.judge import Judge

HEIGHT = 40


def ring(page: np.ndarray, x: int, y: int, height: int = HEIGHT) -> tuple[int, int]:
    """Draws a 0 around (x, y), and gives its centre."""
    cv2.ellipse(page, (x, y), (height // 3, height // 2), 0, 0, 360, 1, 4)
    return x, y


def written(slope: float = 0.0) -> tuple[np.ndarray, list[list[tuple[int, int]]]]:
    """A page of three rows of 4, 2 and 5 rings that sink by ``slope``, and their centres."""
    page = np.zeros((420, 500), np.uint8)
    rows = [
        [ring(page, x, round(90 + 90 * row + slope * x + (-1) ** i * 4)) for i, x in enumerate(places)]
        for row, places in enumerate([(60, 130, 200, 330), (250, 420), (50, 110, 170, 300, 440)])
    ]
    return page, rows


def centres(pieces: list[Piece]) -> np.ndarray:
    return np.array([piece.centre for piece in pieces])


@pytest.mark.parametrize("slope", [0.0, 0.15, -0.15])
def test_pieces_come_row_by_row_also_when_rows_slant(slope):
    page, expected = written(slope)
    pieces, height, _ = pieces_of(page)
    assert height == pytest.approx(HEIGHT, abs=6)
    rows = rows_of(pieces[::-1], height)
    assert [len(row) for row in rows] == [4, 2, 5]
    for row, places in zip(rows, expected, strict=True):
        assert np.abs(centres(row) - places).max() <= 2


def test_sizes_may_differ_within_a_row():
    page = np.zeros((200, 420), np.uint8)
    for i, height in enumerate((60, 36, 52, 40, 64)):
        ring(page, 50 + 75 * i, 100, height)
    pieces, height, _ = pieces_of(page)
    assert [len(row) for row in rows_of(pieces, height)] == [5]


def test_specks_lines_and_borders_are_no_pieces():
    page, rows = written()
    rng = np.random.default_rng(0)
    page[rng.integers(0, 420, 60), rng.integers(0, 500, 60)] = 1
    page[390:393] = 1
    page[:, :12] = 1
    page[20:24, 300:440] = 1
    page[:70, 470:474] = 1
    assert len(pieces_of(without_ruling(page))[0]) == sum(map(len, rows))


def test_thin_ones_in_a_tight_crop_are_no_rules():
    page = np.zeros((60, 260), np.uint8)
    ring(page, 30, 30, 58)
    page[:, 110:114] = page[:, 180:184] = 1
    ring(page, 230, 30, 58)
    assert len(pieces_of(page)[0]) == 4


@pytest.mark.parametrize("sign", ["dash", "low dash", "equals", "near =", "point", "comma", "colon"])
def test_signs_between_digits_are_no_pieces_and_no_parts_of_them(sign):
    page = np.zeros((120, 260), np.uint8)
    for x in (60, 190):
        ring(page, x, 60, 60)
    for x, y, width in {
        "dash": [(112, 60, 24)],
        "low dash": [(92, 80, 24)],
        "equals": [(105, 52, 40), (105, 68, 40)],
        "near =": [(88, 54, 24), (88, 61, 24), (90, 57, 3)],
        "point": [(122, 86, 5)],
        "comma": [(88, 84, 5), (88, 89, 5), (87, 94, 5)],
        "colon": [(122, 48, 5), (122, 75, 5)],
    }[sign]:
        page[y - 2 : y + 3, x : x + width] = 1
    pieces, _, _ = pieces_of(page)
    assert sorted(piece.width for piece in pieces) == [45, 45]


def test_a_bar_belongs_to_the_digit_below_it():
    page = np.zeros((200, 400), np.uint8)
    ring(page, 60, 100, 80)
    cv2.ellipse(page, (200, 115), (25, 28), 0, -120, 130, 1, 5)
    page[66:71, 195:235] = 1
    ring(page, 330, 100, 80)
    pieces, height, _ = pieces_of(page)
    assert len(pieces) == 3
    boxes = sorted((piece.x, piece.y) for piece in pieces)
    assert boxes[1][1] == 66
    assert height == pytest.approx(80, abs=8)


def test_a_foot_that_is_broken_off_belongs_to_its_2():
    page = np.zeros((160, 300), np.uint8)
    ring(page, 60, 80, 80)
    # Its neck, and to the right of its end the foot.
    cv2.line(page, (190, 40), (175, 118), 1, 5)
    page[113:118, 182:206] = 1
    ring(page, 260, 80, 80)
    pieces, _, _ = pieces_of(page)
    assert len(pieces) == 3
    assert sorted(piece.right for piece in pieces)[1] == 206


def test_an_empty_page_and_a_texture_hold_no_pieces():
    assert pieces_of(np.zeros((90, 120), np.uint8)) == ([], 0.0, 0)
    texture = np.zeros((600, 600), np.uint8)
    for x in range(10, 590, 20):
        for y in range(10, 590, 20):
            cv2.circle(texture, (x, y), 6, 1, -1)
    assert pieces_of(texture)[0] == []


def narrow_is_sure(pieces: list[Piece]) -> np.ndarray:
    """A judge to whom a digit is two thirds as wide as high."""
    return np.array([np.exp(-3 * abs(piece.width / piece.height - 0.66)) for piece in pieces])


def test_touching_pieces_are_cut_where_the_judge_is_surest():
    page = np.zeros((200, 300), np.uint8)
    expected = [ring(page, x, 100, 90) for x in (70, 134, 198)]
    pieces, height, _ = pieces_of(page)
    assert len(pieces) == 1
    parted = resolved(pieces, height, Judge(narrow_is_sure))
    assert len(parted) == 3
    assert np.abs(centres(parted) - expected).max() <= 18
    # Nothing is lost but crumbs.
    assert sum(piece.mask.sum() for piece in parted) > 0.9 * page.sum()


def test_seams_are_found_all_along_a_piece_also_where_others_cross_less_ink():
    mask = np.zeros((60, 300), np.uint8)
    mask[28:32] = 1
    for x in (180, 220, 260):
        ring(mask, x, 30, 60)
    for x in (200, 240):
        mask[24:36, x - 4 : x + 4] = 1
    found, costs = seams._seams(mask)
    middles = [seam.mean() for seam in found]
    assert min(costs) < 0.6 * max(costs)
    assert all(np.abs(np.array(middles) - x).min() < 12 for x in (200, 240))


def test_what_the_judge_is_sure_of_stays_whole():
    page, rows = written()
    pieces, height, _ = pieces_of(page)
    assert len(resolved(pieces, height, Judge(narrow_is_sure))) == sum(map(len, rows))
    assert resolved([], height, Judge(narrow_is_sure)) == []


def test_a_piece_of_crumbs_stays_whole():
    mask = np.zeros((40, 40), np.uint8)
    mask[::8, ::8] = 1
    piece = Piece(mask, 0, 0)
    assert resolved([piece], HEIGHT, Judge(lambda pieces: np.full(len(pieces), 0.1))) == [piece]


@pytest.mark.parametrize(("alone", "count"), [(0.99, 2), (0.4, 1)])
def test_neighbours_one_above_the_other_are_one_digit_unless_both_are_surely_digits(alone, count):
    upper, lower = (Piece(np.ones((20, 12), np.uint8), 0, y) for y in (0, 24))

    def judge(some: list[Piece]) -> np.ndarray:
        return np.array([alone if piece in (upper, lower) else 0.98 for piece in some])

    assert len(resolved([upper, lower], HEIGHT, Judge(judge))) == count


@pytest.mark.parametrize(("chance", "count"), [(0.4, 5), (0.2, 4)])
def test_what_is_likely_a_digit_stays_among_sure_ones(chance, count):
    pieces = [Piece(np.ones((HEIGHT, 14), np.uint8), 50 * i, 0) for i in range(5)]

    def judge(some: list[Piece]) -> np.ndarray:
        return np.array([chance if piece is pieces[2] else 0.99 for piece in some])

    assert len(pages._digits(pieces, HEIGHT, Judge(judge), pages.LEAST_SHARE)) == count


@pytest.mark.parametrize(("chance", "width", "count"), [(0.7, 14, 3), (0.5, 14, 0), (0.7, 90, 0)])
def test_few_pieces_are_all_likely_digits_and_all_sure_ones_where_they_were_cut(chance, width, count):
    first = np.zeros((HEIGHT, width), np.uint8)
    # Two bars, held together by a thread.
    first[:, :14] = first[:, -14:] = first[HEIGHT // 2] = 1
    pieces = [Piece(first, 0, 0), *(Piece(np.ones((HEIGHT, 14), np.uint8), x, 0) for x in (120, 170))]

    def judge(some: list[Piece]) -> np.ndarray:
        return np.array([0.1 if one.width > 40 else chance if one.x < 100 else 0.99 for one in some])

    found = pages._digits(pieces[: 3 if width < 40 else 2], HEIGHT, Judge(judge), pages.LEAST_SHARE)
    assert len(found) == count


def test_a_dash_is_no_piece():
    page, rows = written()
    page[340:345, 60:100] = 1
    assert len(pieces_of(page)[0]) == sum(map(len, rows))
