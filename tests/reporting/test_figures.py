"""The figures hold the numbers they are given, and come out as pictures that can be read."""

import subprocess
import sys
import warnings

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mnist_core.metrics import Misclassified
from mnist_core.reporting import figures
from mnist_core.reporting.history import History

STEPS_PER_EPOCH = 43


@pytest.fixture(autouse=True)
def strict():
    """What matplotlib warns of, such as a glyph it lacks or a legend of nothing, is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def history(epochs: float = 3, *, test: bool = True, evals: bool = True) -> History:
    """A run that gets better, with noisy batches of which some are faultless."""
    rng = np.random.default_rng(0)
    steps = np.arange(1, round(epochs * STEPS_PER_EPOCH) + 1)
    errors = rng.binomial(128, 0.9 * np.exp(-steps / 20))
    train = [
        {"epoch": s / STEPS_PER_EPOCH, "loss": 0.01 + e / 50, "accuracy": 1 - e / 128, "learning_rate": 1 / s}
        for s, e in zip(steps.tolist(), errors.tolist(), strict=True)
    ]
    scores = [
        {"epoch": float(e), "loss": 0.2 / e, "accuracy": 1 - 0.02 / e} for e in range(1, int(epochs) + 1)
    ]
    final = {"epoch": float(epochs), "loss": 0.0123, "accuracy": 0.9958}
    return History(train, scores if evals else [], final if test else None)


def confusion(errors: int) -> np.ndarray:
    """Counts with so many errors, most of them fours taken for nines."""
    counts = np.diag([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    rng = np.random.default_rng(1)
    for i in range(errors):
        row, column = (4, 9) if i % 3 else rng.choice(10, 2, replace=False)
        counts[row, row] -= 1
        counts[row, column] += 1
    return counts


def examples(count: int) -> list[Misclassified]:
    """So many wrong answers, no two of the same probability, in no order."""
    order = np.random.default_rng(2).permutation(count).tolist()
    return [Misclassified(i, i % 10, (i + 1) % 10, (1 + order[i]) / (1 + count)) for i in range(count)]


def decoded(figure: Figure) -> np.ndarray:
    """The picture, uint8 [height, width, 3], after a trip through PNG."""
    picture = cv2.imdecode(np.frombuffer(figures.to_png(figure), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def texts(figure: Figure) -> list[str]:
    """All text of the figure's first axes, drawn in the order given."""
    return [text.get_text() for text in figure.axes[0].texts]


IMAGES = np.random.default_rng(3).integers(0, 256, (600, 28, 28), np.uint8)
DRAWINGS = {
    "loss": lambda: figures.loss_curves(history()),
    "accuracy": lambda: figures.accuracy_curves(history()),
    "learning rate": lambda: figures.learning_rate_curve(history()),
    "confusion": lambda: figures.confusion_matrix(confusion(42)),
    "per class": lambda: figures.per_class_accuracy(confusion(42)),
    "misclassified": lambda: figures.misclassified_grid(IMAGES, examples(42)),
}
CURVES = (figures.loss_curves, figures.accuracy_curves, figures.learning_rate_curve)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_a_wide_picture_with_ink_and_margins_and_leaves_no_global_state(name: str) -> None:
    before = dict(matplotlib.rcParams)
    picture = decoded(DRAWINGS[name]())
    assert dict(matplotlib.rcParams) == before
    assert picture.shape[1] == 1200
    assert 500 < picture.shape[0] < 1500
    ink = (picture < 250).any(axis=2)
    assert 0.005 < ink.mean() < 0.6
    edges = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    assert not edges.any(), "something is cut off at the edge"


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_says_what_it_shows(name: str) -> None:
    axes = DRAWINGS[name]().axes[0]
    assert axes.get_title(loc="left")
    assert axes.get_xlabel()
    assert axes.get_ylabel() or name == "misclassified"


def test_pyplot_is_never_imported() -> None:
    code = "import sys, mnist_core.reporting.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("draw", "name", "shown"), [(CURVES[0], "loss", "0.0123"), (CURVES[1], "accuracy", "99.58%")]
)
def test_curves_hold_every_batch_every_validation_and_the_test(draw, name: str, shown: str) -> None:
    run = history()
    axes = draw(run).axes[0]
    raw, smooth, validation, test = axes.lines
    for line, records in ((raw, run.train), (validation, run.evals), (test, [run.test])):
        np.testing.assert_array_equal(line.get_xdata(), [record["epoch"] for record in records])
        np.testing.assert_array_equal(line.get_ydata(), [record[name] for record in records])
    assert len(smooth.get_ydata()) == len(run.train)
    assert np.abs(np.diff(smooth.get_ydata())).sum() < 0.5 * np.abs(np.diff(raw.get_ydata())).sum()
    assert texts(axes.figure) == [shown]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split()[0] for label in labels] == ["training", "validation", "test"]


def test_every_accuracy_from_none_to_all_is_inside_the_axes_and_in_order() -> None:
    axes = figures.accuracy_curves(history()).axes[0]
    accuracies = np.array([0, 0.1, 0.5, 0.9, 0.99, 0.995, 0.996, 0.999, 1])
    heights = axes.transData.transform(np.column_stack([np.ones(9), accuracies]))[:, 1]
    assert (np.diff(heights) > 0).all()
    low, high = axes.bbox.intervaly
    assert low < heights[0]
    assert heights[-1] < high
    step = heights[accuracies == 0.996] - heights[accuracies == 0.995]
    assert step > 0.02 * (high - low), "0.1 % can't be seen"


def test_the_learning_rate_is_drawn_from_zero() -> None:
    run = history()
    axes = figures.learning_rate_curve(run).axes[0]
    np.testing.assert_array_equal(
        axes.lines[0].get_ydata(), [record["learning_rate"] for record in run.train]
    )
    assert axes.get_ylim()[0] == 0


ODD_RUNS = {
    "one step": history(1 / STEPS_PER_EPOCH),
    "one epoch": history(1),
    "unfinished": history(1.5, test=False),
    "never validated": history(evals=False),
    "only scores": History([], history().evals, history().test),
    "only a test before any step": History([], [], {"epoch": 0.0, "loss": 2.3, "accuracy": 0.1}),
    "diverged at once": History([{**history().train[0], "loss": None}], [], None),
    "a batch without loss": History([{**history().train[0], "loss": 0.0}, *history().train], [], None),
}


@pytest.mark.parametrize("name", ODD_RUNS)
def test_curves_of_odd_runs_are_drawn(name: str) -> None:
    for draw in CURVES[: None if ODD_RUNS[name].train else 2]:
        figure = draw(ODD_RUNS[name])
        figure.draw_without_rendering()
        assert figure.axes[0].get_xlim()[1] > 0


def test_a_single_step_can_be_seen() -> None:
    without = History([], [], history(1 / STEPS_PER_EPOCH).test)
    for draw in CURVES[:2]:
        line = draw(ODD_RUNS["one step"]).axes[0].lines[1]
        assert line.get_marker() == "o"
        assert len(draw(without).axes[0].lines) == 1


def test_a_diverged_step_leaves_a_gap_and_no_more() -> None:
    train = [dict(record) for record in history().train]
    train[50]["loss"] = None
    smooth = figures.loss_curves(History(train, [], None)).axes[0].lines[1].get_ydata()
    assert np.isfinite(smooth).all()


@pytest.mark.parametrize("errors", [0, 1, 42, 500])
def test_the_confusion_matrix_shows_each_count_in_its_cell(errors: int) -> None:
    counts = confusion(errors)
    figure = figures.confusion_matrix(counts.tolist())
    axes = figure.axes[0]
    shown = np.zeros((10, 10), int)
    for text in axes.texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    np.testing.assert_array_equal(shown, counts)
    assert axes.get_title(loc="left") == f"{errors} error{'s' * (errors != 1)} in 10,000 test images"
    top, bottom = axes.transData.transform([(0, 0), (0, 9)])[:, 1]
    assert top > bottom, "row 0 comes first"
    assert figure.axes[1].get_ylabel() == "errors"


def test_the_diagonal_does_not_drown_the_errors() -> None:
    figure = figures.confusion_matrix(confusion(42))
    picture = decoded(figure).astype(int)
    axes = figure.axes[0]

    def saturation(row: int, column: int) -> int:
        x, y = axes.transData.transform((column - 0.4, row - 0.35))
        colour = picture[round(picture.shape[0] - y), round(x)]
        return colour.max() - colour.min()

    assert saturation(4, 9) > 60
    assert saturation(4, 4) == 0
    assert saturation(0, 0) == 0
    ink = {text.get_position(): text.get_color() for text in axes.texts}
    assert ink[9, 4] == "white", "on the darkest cell"


@pytest.mark.parametrize("count", [0, 1, 10, 11, 42, 500])
def test_the_grid_shows_the_surest_errors_first(count: int) -> None:
    wrong = examples(count)
    figure = figures.misclassified_grid(IMAGES, wrong)
    axes = figure.axes[0]
    surest = sorted(wrong, key=lambda example: example.probability, reverse=True)[:50]
    labels = [label for e in surest for label in (f"{e.label} → {e.predicted}", f"{e.probability:.1%}")]
    assert texts(figure) == labels
    assert len(axes.images) == len(surest)
    for image, example in zip(axes.images, surest, strict=True):
        np.testing.assert_array_equal(image.get_array(), IMAGES[example.index])
    title = axes.get_title(loc="left")
    assert title.startswith(f"{count} error")
    assert ("surest" in title) == (count > 50)


def test_images_of_the_grid_are_upright_dark_on_white() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, :7] = 255
    figure = figures.misclassified_grid(image, [Misclassified(0, 3, 8, 0.5)])
    picture = decoded(figure)
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    (x0, y0), (x1, y1) = figure.axes[0].transData.transform([(left, bottom), (right, top)])
    height = picture.shape[0]
    crop = picture[round(height - y1) : round(height - y0), round(x0) : round(x1)]
    quarter = len(crop) // 4
    assert abs(crop.shape[0] - crop.shape[1]) <= 2, "pixels are square"
    assert crop[2 : quarter - 2, 2:-2].max() == 0
    assert crop[quarter + 2 :].min() == 255


def test_accuracy_by_digit_shows_share_errors_and_support() -> None:
    counts = confusion(42)
    axes = figures.per_class_accuracy(counts, "validation").axes[0]
    points = axes.lines[1]
    np.testing.assert_allclose(points.get_ydata(), 100 * np.diag(counts) / counts.sum(axis=1))
    four = axes.get_xticklabels()[4].get_text().split("\n")
    assert four == ["4", str(982 - counts[4, 4]), "of 982"]
    assert "validation" in axes.get_title(loc="left")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all: 99.58%", "95% interval"]


def test_a_digit_without_images_has_no_point() -> None:
    counts = confusion(42)
    counts[7] = 0
    figure = figures.per_class_accuracy(counts)
    assert 7 not in figure.axes[0].lines[1].get_xdata()
    assert len(figure.axes[0].lines[1].get_xdata()) == 9
