"""How well are pictures read? Scores by kind on simulated paper, and on a folder of labelled pictures.

The digits are those of MNIST's test images, or of its training images to choose settings on, but for the
quarter that can't be thinned for other pens without becoming illegible. Pages are scored by
1 - edit distance / length of their text, and by how many are read without a mistake.
"""

import argparse
import csv
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from benchmarks import paper, plots, writing
from benchmarks.harness import main, parser, write
from mnist_core.data.datasets import load
from mnist_core.data.split import Split
from mnist_core.imports import import_tensorflow
from mnist_core.metrics import wilson_interval
from mnist_core.runs import SHIPPED, STRINGS, read_result

# How people write dates, times, numbers and sums; 0 is any digit.
SIGNED = (
    "000-0000", "00-00-0000", "0.00", "00.0000", "0,000", "00:00", "0+0=0", "00-0=00", "00/00/00", "(000)000"
)  # fmt: skip
NO_DIGITS = list("ABCDEFGHKMNPQRTUVWXYabdefhkmnpqrtuvwxy&%@#?")


def single(rng: Generator, digits: Callable[[], tuple[np.ndarray, str]], kind: str) -> tuple[np.ndarray, str]:
    """A picture of one digit and its text."""
    image, label = digits()
    height = int(rng.integers(60, 240))
    pen = {"thin": 1.0, "thick": 0.22 * height}.get(kind, max(2.0, height * rng.uniform(0.03, 0.12)))
    ink = writing.stroke(image, height, pen)
    if kind == "tiny":
        return 255 - cv2.resize(
            image[3:25, 3:25], (int(rng.integers(10, 22)),) * 2, interpolation=cv2.INTER_AREA
        ), label
    if kind == "tight":
        x, y, width, rise = cv2.boundingRect((ink > 0.2).astype(np.uint8))
        return np.uint8(235 - 200 * ink[y : y + rise, x : x + width]), label
    around = rng.uniform(0.2, 4 if kind == "wide" else 1.2, 4) * height
    top, bottom, left, right = (int(n) for n in around)
    ink = np.pad(ink, ((top, bottom), (left, right)))
    if kind in ("photo", "desk"):
        return paper.photo(ink, _photographed(rng, kind), rng), label
    if kind in paper.PAPERS:
        return paper.photo(ink, paper.Style(paper=kind, pen=int(rng.integers(5))), rng), label
    if kind in paper.LIGHTS:
        return paper.photo(ink, paper.Style(light=kind, pen=int(rng.integers(5))), rng), label
    return np.uint8(255 * ink) if kind == "inverted" else np.uint8(255 - 255 * ink), label


def page(rng: Generator, digits: Callable[[], tuple[np.ndarray, str]], kind: str) -> tuple[np.ndarray, str]:
    """A picture of rows of digits and its text."""
    count = 1 if kind == "row" else int(rng.integers(2, 6))
    in_cells = kind in ("boxes", "table")
    if kind == "signs":
        patterns = [str(rng.choice(SIGNED)) for _ in range(count)]
    elif in_cells:
        patterns = ["0" * int(rng.integers(2, 9))] * count
    else:
        patterns = ["0" * int(rng.integers(2, 9)) for _ in range(count)]
    drawn = [[digits() if sign == "0" else (sign, "") for sign in pattern] for pattern in patterns]
    height = int(rng.integers(40, 90))
    options: dict[str, Any] = {"height": height, "pen": max(1.5, height * rng.uniform(0.04, 0.11))}
    options |= {
        "touching": {"gap": (-0.12, 0.25)},
        "slanted": {"slant": 9.0, "gap": (0.1, 0.6)},
        "uneven": {"uneven": 0.35},
        "pens": {"pale": 0.3},
    }.get(kind, {"slant": 3.0, "gap": (0.08, 0.6)})
    rows = [[one for one, _ in row] for row in drawn]
    if in_cells:
        ink = writing.cells_of(rows, rng, height=height, pen=options["pen"], table=kind == "table")
    else:
        ink = writing.rows_of(rows, rng, **options)
    text = "\n".join("".join(label for _, label in row) for row in drawn)
    is_photo = kind in ("photo", "row", "desk")
    style = _photographed(rng, kind) if is_photo else paper.Style(pen=int(rng.integers(5)))
    return paper.photo(ink, style, rng), text


def nothing(
    rng: Generator, digits: Callable[[], tuple[np.ndarray, str]], kind: str
) -> tuple[np.ndarray, str]:
    """A picture without any digit."""
    height = int(rng.integers(60, 160))
    style = _photographed(rng, kind)
    if kind == "texture":
        grain = 2 ** int(rng.integers(1, 6))
        small = rng.integers(0, 256, (400 // grain + 1, 400 // grain + 1, 3), np.uint8)
        return cv2.resize(small, (400, 400), interpolation=cv2.INTER_CUBIC), ""
    ink = {
        **dict.fromkeys(("blank", "desk"), lambda: np.zeros((3 * height, 4 * height), np.float32)),
        "letter": lambda: writing.letters(str(rng.choice(NO_DIGITS)), height, rng),
        "word": lambda: writing.letters("".join(rng.choice(NO_DIGITS, int(rng.integers(3, 7)))), height, rng),
        "shape": lambda: writing.shape(height, rng),
        "scribble": lambda: writing.scribble(height, rng),
    }[kind]()
    return paper.photo(ink, style, rng), ""


def _photographed(rng: Generator, kind: str) -> paper.Style:
    return dataclasses.replace(paper.Style.draw(rng), desk=kind == "desk")


KINDS = {
    **dict.fromkeys(
        (
            "thin",
            "thick",
            "tiny",
            "tight",
            "wide",
            "inverted",
            "photo",
            "ruled",
            "squared",
            "yellow",
            "kraft",
            "gradient",
            "shadow",
            "corner",
            "vignette",
            "desk",
        ),
        single,
    ),
    **{
        f"page {kind}": page
        for kind in (
            "plain",
            "signs",
            "boxes",
            "table",
            "touching",
            "slanted",
            "uneven",
            "pens",
            "photo",
            "row",
            "desk",
        )
    },
    **{f"no {kind}": nothing for kind in ("blank", "desk", "letter", "word", "shape", "scribble", "texture")},
}


GROUPS = {single: "one digit", page: "pages", nothing: "no digit"}


def pictures(kind: str, count: int, split: Split, seed: int = 0) -> Iterator[tuple[np.ndarray, str]]:
    """Pictures of a kind with their texts, the same ones each time."""
    for i in range(count):
        rng = np.random.default_rng([seed, i, sum(map(ord, kind))])

        def draw(rng: Generator = rng) -> tuple[np.ndarray, str]:
            while True:
                at = int(rng.integers(len(split.labels)))
                image, label = split.images[at], str(split.labels[at])
                if writing.legible(image, label):
                    return image, label

        yield KINDS[kind](rng, draw, kind.rsplit(maxsplit=1)[-1])


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and changes that make ``b`` of ``a`` (V. Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def judged(
    read: Callable[..., Any], made: Iterable[tuple[Any, str]], *, single: bool = False
) -> list[tuple[int, int]]:
    """Of each picture how many edits what was read is from its text, and the length of that."""
    return [(edit_distance(read(picture, single=single).text, text), len(text)) for picture, text in made]


def scores(found: list[tuple[int, int]]) -> dict[str, Any]:
    """Shares of what `judged` gave: of texts read exactly, and of characters right, with 95 % intervals.

    Wilson's of the texts; of the characters the bootstrap's, which picks pictures. None where there are none.
    """
    edits, lengths = np.array(found).T
    exact = edits == 0
    row = {
        "n": len(exact),
        "exact": float(exact.mean()),
        "exact_interval_95": [float(end) for end in wilson_interval(exact.sum(), len(exact))],
        "characters": None,
        "characters_interval_95": None,
    }
    if lengths.any():
        picks = np.random.default_rng(0).integers(len(exact), size=(2000, len(exact)))
        right = 1 - edits[picks].sum(axis=1) / lengths[picks].sum(axis=1).clip(min=1)
        row["characters"] = float(1 - edits.sum() / lengths.sum())
        row["characters_interval_95"] = np.quantile(right, [0.025, 0.975]).tolist()
    return row


def labelled(folder: Path, table: str) -> list[tuple[Path, str]]:
    """Pictures that a CSV of ``folder`` names, with column ``label``, or ``rows`` separated by ``|``."""
    with (folder / table).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (folder / row["path"], (row.get("label") or row.get("rows") or "").replace("|", "\n")) for row in rows
    ]


def measure(args: argparse.Namespace) -> None:
    """Runs the benchmark, writes its JSON and its plot, prints a table."""
    import_tensorflow()
    from mnist_core.vision.predictor import Predictor

    predictor = Predictor(args.run)
    split = getattr(load("mnist", args.data_dir), args.split)
    count = 2 if args.quick else args.count
    rows: dict[str, dict[str, Any]] = {}
    together: dict[str, list[tuple[int, int]]] = {}

    def add(name: str, found: list[tuple[int, int]]) -> None:
        rows[name] = scores(found)
        print_row(name, rows[name])

    for kind in args.kinds or KINDS:
        for alone in (True, False) if KINDS[kind] is single else (False,):
            told = " (single)" if alone else ""
            found = judged(predictor.read, pictures(kind, count, split, args.seed), single=alone)
            add(kind + told, found)
            together.setdefault(GROUPS[KINDS[kind]] + told, []).extend(found)
    if args.folder:
        for table in ("single.csv", "pages.csv"):
            made = labelled(args.folder, table)
            if table == "single.csv":
                add(f"{table} (single)", judged(predictor.read, made, single=True))
            add(table, judged(predictor.read, made))
    groups = {name: scores(found) for name, found in together.items()}
    for name, row in groups.items():
        print_row(f"all {name}", row)
    weights, strings = ((read_result(run) or {}).get("weights_sha256") for run in (predictor.run, STRINGS))
    body = {
        "split": args.split,
        "run": predictor.run.name,
        "weights_sha256": weights,
        "strings_weights_sha256": strings,
        "groups": groups,
        "kinds": rows,
    }
    path = write("vision", args.json, body)
    plots.vision(rows, path.with_suffix(".png"))
    print(path)


def print_row(name: str, row: dict[str, Any]) -> None:
    """What was read of a kind, with 95 % intervals."""
    low, high = row["exact_interval_95"]
    line = f"{name:22} {row['n']:5} exact {row['exact']:6.1%} [{low:.1%}, {high:.1%}]"
    if row["characters"] is not None:
        low, high = row["characters_interval_95"]
        line += f"  characters {row['characters']:6.1%} [{low:.1%}, {high:.1%}]"
    print(line, flush=True)


if __name__ == "__main__":
    made = parser("vision", __doc__)
    made.add_argument("--run", default=SHIPPED, help="run directory (default: the shipped weights)")
    made.add_argument("--data-dir", help="folder of the MNIST files")
    made.add_argument("--split", choices=("train", "test"), default="test", help="default: %(default)s")
    made.add_argument(
        "--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"default: all of {', '.join(KINDS)}"
    )
    made.add_argument("--count", type=int, default=100, help="pictures of each kind (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    made.add_argument("--folder", type=Path, help="also score a folder with single.csv and pages.csv")
    main(made, measure)
