"""The shipped network reads pages of paper, and says no where there are no digits."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from benchmarks import paper, writing
from benchmarks.ship import MOST_BYTES, temperature
from benchmarks.vision import KINDS, edit_distance, judged, pictures, scores
from mnist_core import runs
from mnist_core.data.split import Split
from mnist_core.data.synthetic import draw
from mnist_core.vision import sheet
from mnist_core.vision.gray import to_gray
from mnist_core.vision.ink import Look
from mnist_core.vision.page import PAGE_SIDE
from mnist_core.vision.sheet import Sheet


def score(read, made, *, single=False):
    return scores(judged(read, made, single=single))


@pytest.mark.mnist
@pytest.mark.parametrize(
    "kind", ["page plain", "page row", "page slanted", "page photo", "page boxes", "page table"]
)
def test_pages_are_read_row_by_row(predictor, test_digits, kind):
    found = score(predictor.read, pictures(kind, 6, test_digits))
    assert found["characters"] > 0.9


@pytest.mark.mnist
def test_of_dates_numbers_and_sums_the_digits_are_read(predictor, test_digits):
    assert score(predictor.read, pictures("page signs", 6, test_digits))["characters"] > 0.95


@pytest.mark.mnist
def test_digits_of_a_paler_pen_are_not_lost(predictor, test_digits, monkeypatch):
    with_them = score(predictor.read, pictures("page pens", 6, test_digits, seed=3))["characters"]
    monkeypatch.setattr(sheet, "FAINTER", 9.0)
    without = score(predictor.read, pictures("page pens", 6, test_digits, seed=3))["characters"]
    assert with_them > max(0.95, without + 0.03)


@pytest.mark.mnist
def test_a_row_by_a_paler_pen_is_read_between_others(predictor, test_digits):
    rng = np.random.default_rng(1)
    rows = [
        [np.flatnonzero(test_digits.labels == digit)[3] for digit in row]
        for row in ([7, 0, 3, 2], [5, 0, 8], [6, 2, 3])
    ]
    strips = [writing.rows_of([list(test_digits.images[row])], rng, gap=(0.3, 0.6)) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    strips = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]))) for strip in strips]
    ink = np.concatenate([strips[0], strips[1] * np.float32(0.4), strips[2]])
    picture = paper.photo(ink, paper.Style(), rng)
    assert predictor.read(picture).text == "7032\n508\n623"


@pytest.mark.mnist
@pytest.mark.parametrize(("seed", "number"), [(0, 3), (1, 2)])
def test_a_one_of_a_paler_pen_is_told_from_a_line_by_its_stroke(predictor, test_digits, seed, number):
    (picture, text) = list(pictures("page pens", number + 1, test_digits, seed))[number]
    assert predictor.read(picture).text == text


@pytest.mark.mnist
def test_the_grain_of_a_paper_is_no_page_of_pale_ones(predictor, test_digits):
    (picture, _) = list(pictures("no blank", 14, test_digits))[13]
    assert predictor.read(picture).digits == ()


@pytest.mark.mnist
def test_pages_that_show_no_digits_at_first_are_looked_at_again(predictor, test_digits):
    again = []
    for picture, text in pictures("page row", 5, test_digits, seed=1):
        page, first = predictor.read(picture), Sheet.of(to_gray(picture))
        if first is None or page.look != first.look:
            again.append(page.text == text)
    # One of them is taken for bright ink.
    assert again == [True]


@pytest.mark.mnist
def test_a_page_keeps_the_sheet_that_its_digits_were_cut_from(predictor, test_digits):
    (picture, _) = next(pictures("page plain", 1, test_digits))
    # So small that the larger copy is needed.
    page = predictor.read(np.pad(to_gray(picture), 900, constant_values=235))
    scale = max(page.sheet.place.gray.shape) / max(page.sheet.mask.shape)
    assert max(page.sheet.mask.shape) == PAGE_SIDE
    for digit in page.digits:
        left, top, width, height = (
            round((at - edge) / scale)
            for at, edge in zip(digit.box, (page.sheet.place.left, page.sheet.place.top, 0, 0), strict=True)
        )
        assert page.sheet.mask[top : top + height, left : left + width].any()


@pytest.mark.mnist
def test_a_known_way_to_look_spares_the_search_and_a_wrong_one_is_forgiven(
    predictor, test_digits, monkeypatch
):
    made = [picture for picture, _ in pictures("photo", 6, test_digits)]
    pages = [predictor.read(picture) for picture in made]
    wrong = [Look(not page.look.dark, 0.1) for page in pages]
    again = [predictor.read(picture, look=look) for picture, look in zip(made, wrong, strict=True)]
    assert sum(a.text == b.text for a, b in zip(again, pages, strict=True)) >= 5
    monkeypatch.setattr(sheet, "looks", lambda _: pytest.fail("the best look was sought"))
    for picture, page in zip(made, pages, strict=True):
        assert predictor.read(picture, look=page.look).text == page.text


@pytest.mark.mnist
def test_tight_crops_of_few_pixels_are_read(predictor, test_digits):
    missed = 0
    for image, label in zip(test_digits.images[:300], test_digits.labels[:300], strict=True):
        x, y, width, height = cv2.boundingRect(image)
        size = max(2, round(13 * width / height)), 13
        small = cv2.resize(image[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
        missed += predictor.read(255 - small).text != str(label)
    assert missed <= 2


@pytest.mark.mnist
def test_a_picture_of_one_digit_is_read_alike_whether_that_was_told_or_not(predictor, test_digits):
    made = list(pictures("squared", 12, test_digits))
    assert score(predictor.read, iter(made), single=True)["exact"] >= 10 / 12
    assert score(predictor.read, iter(made))["exact"] >= 10 / 12


@pytest.mark.mnist
def test_boxes_hold_their_digits_and_come_in_reading_order(predictor, test_digits):
    for picture, _ in pictures("page plain", 3, test_digits):
        page = predictor.read(picture)
        rows, at = page.text.split("\n"), 0
        for row in rows:
            boxes = [digit.box for digit in page.digits[at : at + len(row)]]
            at += len(row)
            centres = [x + width / 2 for x, _, width, _ in boxes]
            assert centres == sorted(centres)
            for x, y, width, height in boxes:
                assert 0 <= x < x + width <= picture.shape[1]
                assert 0 <= y < y + height <= picture.shape[0]
                # There is ink in it.
                assert np.ptp(picture[y : y + height, x : x + width]) > 60
        assert at == len(page.digits)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("no ")])
def test_what_is_no_digit_is_mostly_refused(predictor, kind):
    nothing = Split(*draw(2, seed=0))
    found = [predictor.read(picture).text for picture, _ in pictures(kind, 16, nothing)]
    assert found.count("") >= 8


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param([[60, 50], [100, 110], [140, 50]], id="V"),
        pytest.param([[150, 75], [85, 150], [50, 60], [150, 75]], id="triangle"),
    ],
)
def test_what_is_drawn_in_straight_strokes_is_not_cut_into_ones_and_sevens(predictor, corners):
    picture = np.full((200, 200), 255, np.uint8)
    cv2.polylines(picture, [np.int32(corners)], False, 0, 6, cv2.LINE_AA)
    assert predictor.read(picture).text == ""


@pytest.mark.parametrize("blur", [1, 3, 8])
@pytest.mark.parametrize("far", [150, 250], ids=["steep", "flat"])
def test_the_edge_of_a_shadow_is_no_stroke(predictor, blur, far):
    picture = np.full((300, 400), 225, np.float32)
    cv2.fillPoly(picture, [np.int32([[0, 0], [far, 0], [60, 300], [0, 300]])], 140)
    picture = cv2.GaussianBlur(picture, (0, 0), blur) + np.random.default_rng(blur).normal(0, 3, (300, 400))
    assert predictor.read(np.uint8(np.clip(picture, 0, 255))).text == ""


def test_thick_strokes_that_stand_close_are_no_edges(predictor):
    picture = np.full((160, 400), 235, np.uint8)
    for x in (60, 92, 124, 156):
        cv2.line(picture, (x, 50), (x - 4, 110), 30, 14, cv2.LINE_AA)
    cv2.ellipse(picture, (230, 80), (22, 30), 0, 0, 360, 30, 12, cv2.LINE_AA)
    assert predictor.read(picture).text == "11110"


@pytest.mark.mnist
def test_a_pale_digit_across_the_edge_of_a_shadow_is_read(predictor, test_digits):
    rng = np.random.default_rng(1)
    right = 0
    for at in range(20):
        ink = np.pad(writing.stroke(test_digits.images[at], 140, 9), 60)
        picture = 235 - 115 * ink
        picture[:, picture.shape[1] * 9 // 20 :] *= 0.5
        picture = cv2.GaussianBlur(picture, (0, 0), 1.5) + rng.normal(0, 2, picture.shape)
        found = predictor.read(np.uint8(np.clip(picture, 0, 255))).text
        right += found == str(test_digits.labels[at])
    assert right >= 17


def test_a_disc_before_other_tones_is_no_zero(predictor):
    picture = np.full((300, 450), 150, np.uint8)
    picture[140:] = 90
    cv2.circle(picture, (300, 60), 25, 200, -1, cv2.LINE_AA)
    picture = np.clip(picture + np.random.default_rng(0).normal(0, 4, picture.shape), 0, 255)
    assert predictor.read(np.uint8(picture)).text == ""


def cursive(words: int, seed: int) -> np.ndarray:
    """Lines of four words of one waving stroke each; uint8 [height, 800]."""
    rng = np.random.default_rng(seed)
    made = np.full((80 * -(-words // 4), 800), 255, np.uint8)
    for word in range(words):
        x = np.linspace(0, 150, 50)
        y = 20 * np.sin(x * 2 * np.pi / rng.uniform(12, 25)) * rng.uniform(0.3, 1, 50)
        points = np.stack([x + 20 + 195 * (word % 4), y + 40 + 80 * (word // 4)], axis=1)
        cv2.polylines(made, [points.astype(np.int32)], False, 0, 3, cv2.LINE_AA)
    return made


def test_a_page_of_writing_is_given_up_soon(predictor, monkeypatch):
    asked, probabilities = [], predictor.probabilities
    monkeypatch.setattr(
        predictor, "probabilities", lambda images: asked.append(len(images)) or probabilities(images)
    )
    for seed in range(2):
        assert predictor.read(cursive(48, seed)).text == ""
    # Cut at each of its waves, a word gives a hundred pieces, each of which is asked for in several views.
    assert sum(asked) < 2 * 48 * 100


def test_a_filled_disc_is_no_zero_but_a_ring_is(predictor):
    rng = np.random.default_rng(0)
    for filled, text in ((True, ""), (False, "0")):
        ink = np.zeros((240, 260), np.float32)
        cv2.ellipse(ink, (130, 120), (45, 60), 0, 0, 360, 1.0, -1 if filled else 12)
        pictures = [paper.photo(ink, paper.Style(light=light), rng) for light in paper.LIGHTS]
        assert [predictor.read(picture).text for picture in pictures].count(text) >= len(pictures) - 1


def lamp(stroke: list[tuple[int, int]]) -> np.ndarray:
    """Paper under a lamp that is brighter than the stroke of a thin pen is dark."""
    y, x = np.mgrid[:480, :640]
    light = 120 + 60 * np.exp(-((x - 320) ** 2 + (y - 240) ** 2) / (2 * 120**2))
    sheet = light.astype(np.uint8)
    cv2.polylines(sheet, [np.array(stroke)], False, 70, 2, cv2.LINE_AA)
    noise = np.random.default_rng(0).normal(0, 2, light.shape)
    return np.clip(sheet + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("at", [(200, 240), (320, 240), (340, 200)])
def test_a_digit_is_found_where_the_light_was_taken_for_ink(predictor, at):
    x, y = at
    picture = lamp([(x, y), (x + 36, y), (x + 14, y + 60)])
    assert not next(Sheet.seen_in(picture)).look.dark
    page = predictor.read(picture)
    assert page.text == predictor.read(picture, single=True).text == "7"
    left, top, width, height = page.digits[0].box
    assert max(abs(left - x), abs(top - y), abs(width - 36), abs(height - 60)) < 8


def test_a_disc_is_no_digit_in_any_look_and_neither_is_the_light_of_a_lamp(predictor):
    assert predictor.read(lamp([(0, 0), (0, 0)])).text == ""
    # Its rim, which another look shows, would be a likely nought.
    made = [picture for picture, _ in pictures("no shape", 23, Split(*draw(2, seed=0)), seed=5)]
    assert [predictor.read(made[at]).text for at in (2, 9, 18, 22)] == [""] * 4
    assert [predictor.read(made[at], single=True).text for at in (2, 9, 18, 22)] == ["0"] * 4


def test_one_picture_taken_as_one_digit_gives_at_most_one(predictor):
    nothing = Split(*draw(2, seed=0))
    pages = [predictor.read(picture, single=True) for picture, _ in pictures("no word", 4, nothing)]
    assert all(len(page.digits) <= 1 for page in pages)


def test_the_shipped_weights_are_those_of_their_card():
    (path,) = (runs.SHIPPED / "checkpoints").glob("*.npz")
    card = (runs.SHIPPED / "CARD.md").read_text(encoding="utf-8")
    assert path.stat().st_size < MOST_BYTES
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    model, directory = runs.load_model(runs.SHIPPED)
    assert directory == runs.SHIPPED
    digest = hashlib.sha256()
    for variable in model.trainable_variables:
        digest.update(variable.numpy().astype("<f4").tobytes())
    result = json.loads((runs.SHIPPED / "result.json").read_text(encoding="utf-8"))
    assert result["weights_sha256"] == digest.hexdigest()
    assert digest.hexdigest() in card
    assert f"{result['test_accuracy']:.2%}" in card


@pytest.mark.mnist
def test_the_shipped_weights_score_what_their_card_says(predictor, test_digits):
    found = predictor.probabilities(test_digits.images)
    right = found.argmax(axis=1) == test_digits.labels
    told = json.loads((runs.SHIPPED / runs.RESULT).read_text())
    assert right.mean() == pytest.approx(told["test_accuracy"], abs=2e-4)
    # They are as sure as they are right.
    assert abs(found.max(axis=1).mean() - right.mean()) < 0.005


def test_a_temperature_undoes_what_logits_were_multiplied_by():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 10)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("a", "b", "steps"), [("", "", 0), ("12", "", 2), ("123", "13", 1), ("12", "21", 2)])
def test_an_edit_distance_counts_steps(a, b, steps):
    assert edit_distance(a, b) == edit_distance(b, a) == steps
