"""The step of strings learns to read them, and tells which it has read."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.config import Config
from mnist_core.errors import UsageError
from mnist_core.loop import strings
from mnist_core.loop.step import Batch, TrainStep
from mnist_core.loop.trainer import Trainer
from tests.loop.small import DATA, Linear, Recorder, make

BLANK = models.StringNet.BLANK


@pytest.fixture(scope="module")
def trained() -> tuple[Trainer, Recorder]:
    """A small network of the recipe after some steps on drawn digits."""
    recorder = Recorder()
    config = Config.from_recipe(
        "strings", batch_size=64, parts=1, max_steps=200, epochs=100, validation_size=0, device="cpu",
        precision="float32", elastic=0.0, outliers=0.0, ema=0.0,
    )  # fmt: skip
    net = lambda: models.StringNet(widths=(8, 8, 16, 16, 16), hidden=32, dropout=0.0)  # noqa: E731
    trainer = Trainer(config, model=net, data=DATA, hooks=[recorder])
    trainer.fit()
    return trainer, recorder


def of(step: TrainStep, texts: list[str], logits: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and what is right of columns that should spell ``texts``."""
    labels = np.full((len(texts), 4), -1, np.int32)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = [int(digit) for digit in text]
    rows = tf.range(len(texts))
    batch = Batch(tf.zeros([len(texts), 28, 72, 1]), tf.constant(labels), rows, tf.size(rows))
    columns = tf.constant(logits, tf.float32)
    return float(step.loss(batch, columns)), step.correct(batch, columns).numpy()


def told(*columns: int) -> np.ndarray:
    """Logits ``[columns, 11]`` of columns that each surely tell something."""
    return 20 * np.eye(BLANK + 1)[list(columns)]


def spelt(columns: tuple[int, ...]) -> str:
    """What columns spell: runs of the same are one, blanks are none."""
    return "".join(str(one) for one, _ in itertools.groupby(columns) if one != BLANK)


def test_the_network_of_strings_gets_their_step_and_others_the_usual_one(trained: tuple) -> None:
    assert type(trained[0]._step) is strings.StringStep
    assert type(make(net=Linear, max_steps=1)._step) is TrainStep


@pytest.mark.parametrize("setting", [{"shift": 2.0}, {"label_smoothing": 0.1}])
def test_what_strings_have_no_use_for_is_refused(setting: dict[str, float]) -> None:
    flag = "--" + next(iter(setting)).replace("_", "-")
    with pytest.raises(UsageError, match=f"no use for {flag}; set it to 0"):
        Trainer(Config.from_recipe("strings", device="cpu", **setting), data=DATA)


def test_it_learns(trained: tuple) -> None:
    _, recorder = trained
    losses, right = (
        np.concatenate([log.scalars[name] for log in recorder.logs]) for name in ("loss", "accuracy")
    )
    assert losses[-20:].mean() < 0.3 * losses[:20].mean()
    assert right[-20:].mean() > 0.4
    assert right[:20].mean() < 0.05


def test_the_loss_is_of_all_that_reads_the_same(trained: tuple) -> None:
    step = trained[0]._step
    logits = np.random.default_rng(0).normal(size=(4, BLANK + 1))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for text in ("3", "31", "33"):
        digits = {BLANK, *map(int, text)}
        ways = [way for way in itertools.product(digits, repeat=4) if spelt(way) == text]
        chance = sum(np.prod(chances[range(4), way]) for way in ways)
        assert of(step, [text], logits[np.newaxis])[0] == pytest.approx(-np.log(chance), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "columns", "is_right"),
    [
        ("3", (BLANK, 3, 3, BLANK, BLANK, BLANK), True),
        ("33", (BLANK, 3, 3, BLANK, 3, BLANK), True),
        ("33", (BLANK, 3, 3, 3, 3, BLANK), False),
        ("305", (3, 0, 0, BLANK, 5, 5), True),
        ("305", (3, 0, 0, BLANK, 5, 3), False),
        ("305", (3, 3, 0, 0, BLANK, BLANK), False),
        ("0123", (0, 1, 2, 3, 4, 5), False),
        ("1", (BLANK,) * 6, False),
    ],
)
def test_it_tells_what_is_spelt_right(trained: tuple, text: str, columns: tuple, is_right: bool) -> None:
    loss, right = of(trained[0]._step, [text], told(*columns)[np.newaxis])
    assert right.tolist() == [is_right]
    assert (spelt(columns) == text) == is_right
    assert (loss < 1e-3) == is_right
