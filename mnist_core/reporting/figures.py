"""The pictures of a run. Figures are objects of their own: no pyplot, no display, no global state."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from mnist_core.metrics import CLASSES, Misclassified, wilson_interval
from mnist_core.reporting.history import History

# Okabe & Ito's palette, told apart by the colour-blind too; each series also has a mark of its own.
BLUE, VERMILLION, BLACK = "#0072B2", "#D55E00", "#000000"
GREY, PALE_GREY = "#666666", "#E6E6E6"
WIDTH_INCHES, DOTS_PER_INCH = 8.0, 150
MOST_IMAGES, IMAGE_COLUMNS = 50, 10
# Added to the error rate before its logarithm, so that a faultless batch stays on the axis.
LEAST_ERROR = 1e-3


def loss_curves(history: History) -> Figure:
    """Cross-entropy over epochs, on a log axis: training, validation, test."""
    figure, axes = _panel("Loss", "epoch", "cross-entropy (nats, log scale)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    _draw_curves(axes, history, "loss", "{:.4f}")
    return figure


def accuracy_curves(history: History) -> Figure:
    """Accuracy over epochs: training, validation, test.

    Equal distances on the y-axis are nearly equal factors of the error rate: 99.5 and 99.6 % can be told
    apart in the same picture as 50 %.
    """
    figure, axes = _panel("Accuracy", "epoch", "accuracy (%, log scale of errors)")
    axes.set_yscale("function", functions=(_nines, lambda nines: 1 + LEAST_ERROR - 10.0**-nines))
    _draw_curves(axes, history, "accuracy", "{:.2%}")
    percents = [0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100]
    axes.set_yticks([percent / 100 for percent in percents], percents)
    axes.set_ylim(-0.3, 1 + LEAST_ERROR / 4)
    return figure


def learning_rate_curve(history: History) -> Figure:
    """The learning rate of each logged step over epochs."""
    figure, axes = _panel("Learning rate", "epoch", "learning rate")
    epochs, rates = _series(history.train, "learning_rate")
    axes.plot(epochs, rates, "o" if len(rates) == 1 else "-", color=BLUE, linewidth=2)
    axes.set_ylim(bottom=0)
    _limit_epochs(axes, history)
    return figure


def confusion_matrix(confusion: Any, split: str = "test") -> Figure:
    """The counts ``confusion``, int [10, 10], by true digit (rows) and predicted digit (columns).

    Only errors are coloured: beside the thousands on the diagonal they would all look alike.
    """
    confusion = np.asarray(confusion)
    right = np.eye(CLASSES, dtype=bool)
    errors = np.where(right, 0, confusion)
    title = f"{_errors(errors.sum())} in {confusion.sum():,} {split} images"
    figure, axes = _panel(title, "predicted digit", "true digit", height=6.6)
    most, digits = max(5, errors.max()), range(CLASSES)
    colours = colormaps["Oranges"].with_extremes(under=PALE_GREY, bad="white")
    cells = np.ma.masked_equal(np.where(right, -1, errors), 0)
    image = axes.pcolormesh(digits, digits, cells, cmap=colours, vmin=0, vmax=most, edgecolors=PALE_GREY)
    for (row, column), value in np.ndenumerate(confusion):
        place = {"x": column, "y": row, "s": f"{value}", "ha": "center", "va": "center"}
        if row == column:
            axes.text(**place, color=GREY, fontsize=11)
        elif value:
            colour = "white" if value > 0.55 * most else BLACK
            axes.text(**place, color=colour, fontsize=12, fontweight="bold")
    axes.set(xticks=digits, yticks=digits, aspect="equal")
    axes.invert_yaxis()
    axes.grid(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=30, ticks=MaxNLocator(5, integer=True))
    bar.set_label("errors", fontsize=12)
    bar.outline.set_visible(False)
    return figure


def misclassified_grid(images: np.ndarray, examples: Sequence[Misclassified], split: str = "test") -> Figure:
    """The wrong answers as pictures, the surest first, with label -> prediction and its probability.

    Args:
      images: uint8 [n, 28, 28], all the images scored.
      examples: the wrong answers; ``index`` is a row of ``images``.
    """
    shown = sorted(examples, key=lambda example: -example.probability)[:MOST_IMAGES]
    title = f"{_errors(len(examples))} in {len(images):,} {split} images"
    if len(shown) < len(examples):
        title += f", the {len(shown)} surest"
    caption = "true digit → prediction, and its probability" if shown else "every one was recognised"
    # One set of axes, measured in tiles: fifty of their own take seconds to lay out.
    rows, tile_height = -(-len(shown) // IMAGE_COLUMNS), 1.6
    height = max(rows, 0.5) * tile_height
    figure, axes = _panel(title, caption, "", height=0.9 + height * WIDTH_INCHES / IMAGE_COLUMNS)
    for place, example in enumerate(shown):
        row, left = divmod(place, IMAGE_COLUMNS)
        top = row * tile_height
        box = (left + 0.07, left + 0.93, top + 1.18, top + 0.32)
        axes.imshow(images[example.index], cmap="gray_r", vmin=0, vmax=255, extent=box)
        middle = {"x": left + 0.5, "ha": "center"}
        label = f"{example.label} → {example.predicted}"
        axes.text(y=top + 0.25, s=label, fontsize=12, fontweight="bold", **middle)
        axes.text(y=top + 1.38, s=f"{example.probability:.1%}", fontsize=10, color=GREY, **middle)
    axes.set(xlim=(0, IMAGE_COLUMNS), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return figure


def per_class_accuracy(confusion: Any, split: str = "test") -> Figure:
    """The share recognised of each digit, with Wilson's 95 % interval, from int [10, 10] counts."""
    confusion = np.asarray(confusion)
    hits, support = np.diag(confusion), confusion.sum(axis=1)
    title = f"Accuracy by digit, {split} images"
    figure, axes = _panel(title, "digit, its errors and images", "accuracy (%)")
    overall = 100 * hits.sum() / max(support.sum(), 1)
    axes.axhline(overall, color=VERMILLION, linewidth=1.5, linestyle="--", label=f"all: {overall:.2f}%")
    seen = np.flatnonzero(support)
    low, high = wilson_interval(hits[seen], support[seen])
    axes.vlines(seen, 100 * low, 100 * high, color=BLUE, alpha=0.4, linewidth=3, label="95% interval")
    axes.plot(seen, 100 * hits[seen] / support[seen], "o", color=BLUE, markersize=8)
    names = [f"{digit}\n{support[digit] - hits[digit]}\nof {support[digit]}" for digit in range(CLASSES)]
    axes.set_xticks(range(CLASSES), names)
    axes.grid(False, axis="x")
    _add_legend(axes)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _panel(title: str, x_label: str, y_label: str, height: float = 4.5) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=14, fontweight="bold", loc="left", pad=12)
    axes.set_xlabel(x_label, fontsize=12)
    axes.set_ylabel(y_label, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(color=PALE_GREY, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _add_legend(axes: Axes) -> None:
    # Above the plot, where it hides no point.
    axes.legend(frameon=False, fontsize=11, ncols=3, loc="lower right", bbox_to_anchor=(1.02, 0.99))


def _draw_curves(axes: Axes, history: History, name: str, text: str) -> None:
    epochs, values = _series(history.train, name)
    if len(values):
        axes.plot(epochs, values, ".", color=BLUE, markersize=3, markeredgewidth=0, alpha=0.35)
        label, mark = "training batches (line: smoothed)", "o" if len(values) == 1 else "-"
        axes.plot(epochs, _smoothed(values), mark, color=BLUE, linewidth=2, label=label)
    if history.evals:
        axes.plot(*_series(history.evals, name), "o-", color=VERMILLION, linewidth=1.5, label="validation")
    if history.test:
        point = history.test["epoch"], history.test[name]
        # Open, so that the last validation shows through.
        axes.plot(*point, "D", color=BLACK, fillstyle="none", markersize=9, markeredgewidth=2, label="test")
        style = {"va": "center", "fontsize": 11, "fontweight": "bold"}
        axes.annotate(text.format(point[1]), point, (9, 0), textcoords="offset points", **style)
    _limit_epochs(axes, history)
    _add_legend(axes)


def _limit_epochs(axes: Axes, history: History) -> None:
    records = [*history.train, *history.evals, *filter(None, [history.test])]
    last = max(record["epoch"] for record in records) or 1
    # Room on the right for the test's label.
    axes.set_xlim(0, 1.11 * last)
    if last >= 2:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _series(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array([(record["epoch"], record[name]) for record in records], np.float64)
    return tuple(pairs.reshape(-1, 2).T)


def _nines(accuracy: np.ndarray) -> np.ndarray:
    """The scale's own measure: 1 for 90 %, 2 for 99 %, 3 (not infinity) for 100 %."""
    return -np.log10(np.maximum(1 + LEAST_ERROR - accuracy, LEAST_ERROR / 10))


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Weighted mean of the neighbours, of as many as there are at the ends; NaNs have no weight."""
    window = np.hanning(len(values) // 20 + 3)[1:-1]
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0), window, "same")
    weight = np.convolve(known, window, "same")
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=weight > 0)


def _errors(count: int) -> str:
    return f"{count:,} error" + ("" if count == 1 else "s")
