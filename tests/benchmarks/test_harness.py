"""The statistics and the processes that all benchmarks rest on, and how weights become the shipped ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import harness, ship
from benchmarks.harness import Contestant, contest, exponent, ratios, steps_for, summary, take_turns
from mnist_core import runs
from mnist_core.config import Config
from mnist_core.data.split import Split
from mnist_core.data.synthetic import draw
from tests.invoke import ROOT, spawn


def test_the_summary_is_that_of_the_values() -> None:
    found = summary([3.0, 1.0, 2.0, 10.0])
    assert (found["n"], found["median"], found["mean"]) == (4, 2.5, 4.0)
    assert found["sd"] == pytest.approx(np.std([3, 1, 2, 10], ddof=1))
    assert (found["min"], found["max"], found["values"]) == (1.0, 10.0, [3.0, 1.0, 2.0, 10.0])
    assert summary([5.0])["sd"] is None
    assert summary([5.0])["interval_95"] is None


def test_the_interval_holds_the_mean_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = summary(random.normal(7, 2, 5))["interval_95"]
        held += low <= 7 <= high
    # Four standard deviations of a binomial count about 190.
    assert 178 <= held <= 199


def test_ratios_are_taken_round_by_round() -> None:
    # A machine that slows down by half in one round slows both.
    assert ratios([20.0, 10.0, 20.0], [10.0, 5.0, 10.0])["values"] == [2.0, 2.0, 2.0]


def test_the_exponent_is_that_of_the_power_with_the_interval_of_least_squares() -> None:
    sizes = np.array([1, 2, 5, 10, 100])
    exact = exponent(sizes, 3 * sizes**1.5)
    assert exact["exponent"] == pytest.approx(1.5)
    assert exact["interval_95"] == pytest.approx([1.5, 1.5])
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = exponent(sizes, sizes**0.5 * np.exp(random.normal(0, 0.3, 5)))["interval_95"]
        held += low <= 0.5 <= high
    assert 178 <= held <= 199
    assert exponent([1, 2], [1, 4])["interval_95"] is None


def test_help_promises_a_plot_where_there_is_one() -> None:
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        if " parser(" not in (code := path.read_text(encoding="utf-8")) or path.stem == "harness":
            continue
        text = harness.parser(path.stem, "").format_help()
        assert ("a plot beside it" in text) == (f"plots.{path.stem}(" in code), path


def test_reading_is_scored_with_the_shipped_weights_beside_a_run_too(tmp_path: Path, mnist_dir: Path) -> None:
    run = tmp_path / "logs" / "20990101-000000-mine"
    run.mkdir(parents=True)
    for name in (runs.CONFIG, runs.RESULT):
        (run / name).write_text("{}")
    flags = ["--quick", "--kinds", "tiny", "--data-dir", mnist_dir, "--json", "scores.json"]
    done = spawn("-m", "benchmarks.vision", *flags, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.code == 0, done
    assert json.loads((tmp_path / "scores.json").read_text())["run"] == runs.SHIPPED.name


def settings(tmp_path, **more):
    problem = tmp_path / "problem.npz"
    np.savez(problem, nothing=0)
    return {"problem": str(problem), "batch_size": 10, "warm_up": 3, "device": "cpu", **more}


def test_contestants_answer_in_turn_and_end_when_nobody_asks(tmp_path) -> None:
    entries = {name: ("idle", settings(tmp_path)) for name in ("first", "second")}
    with contest(entries) as contestants:
        for one in contestants.values():
            assert (one.ready["steps"], one.ready["mean_loss"]) == (3, 1.0)
        answers = [one.ask("20") for _ in range(2) for one in contestants.values()]
        processes = [one._process for one in contestants.values()]
    # A step of this contestant takes a millisecond at least.
    assert all(answer["steps"] == 20 and 0 < answer["images_per_second"] < 10_000 for answer in answers)
    assert [process.returncode for process in processes] == [0, 0]


def test_a_turn_has_the_steps_asked_for(tmp_path) -> None:
    entries = {name: ("idle", settings(tmp_path)) for name in ("first", "second")}
    with contest(entries) as contestants:
        steps = steps_for(0.05, contestants, {"first": 10, "second": 10})
        # A step of this contestant takes a millisecond at least.
        assert all(1 <= count <= 50 for count in steps.values())
        turns = take_turns(contestants, range(3), {"second": 7, "first": 5})
    assert [answer["steps"] for answer in turns["first"]] == [5, 5, 5]
    assert [answer["steps"] for answer in turns["second"]] == [7, 7, 7]


def test_a_contestant_that_fails_is_quoted(tmp_path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)idle.* ended with code 1:.*KeyError: 'warm_up'"):
        Contestant("idle", {"problem": settings(tmp_path)["problem"], "batch_size": 10, "device": "cpu"})


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder of weights that were shipped before."""
    (tmp_path / "shipped" / "checkpoints").mkdir(parents=True)
    (tmp_path / "shipped" / "checkpoints" / "step-00000007.npz").write_text("old")
    return tmp_path / "shipped"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_old_weights_go_once_the_new_ones_are_there_and_small_enough(shipped: Path) -> None:
    import keras

    before = content(shipped)
    large, small = (keras.Sequential([keras.Input((784,)), keras.layers.Dense(n)]) for n in (700, 10))
    with pytest.raises(RuntimeError, match=r"2,\d+,\d+ bytes, more than 2,000,000"):
        ship._save(large, 8, shipped)
    assert content(shipped) == before
    path = ship._save(small, 8, shipped)
    assert list(content(shipped)) == ["checkpoints/step-00000008.npz"]
    # The name may be the old one's.
    assert ship._save(small, 8, shipped) == path
    assert path.is_file()


def test_a_run_without_an_end_or_without_held_out_images_is_not_shipped(
    shipped: Path, tmp_path: Path
) -> None:
    before = content(shipped)
    (tmp_path / runs.CONFIG).write_text(json.dumps(Config(validation_size=0).to_json()))
    command = ("-m", "benchmarks.ship", "--run", tmp_path, "--out", shipped)
    assert "isn't finished" in spawn(*command).failure(2)
    (tmp_path / runs.RESULT).write_text('{"steps": 1}')
    assert "held no images out" in spawn(*command).failure(2)
    assert content(shipped) == before


@pytest.mark.parametrize("flag", ["--quick", "--json"])
def test_what_ship_would_not_heed_it_refuses(flag: str, shipped: Path, tmp_path: Path) -> None:
    done = spawn("-m", "benchmarks.ship", "--run", tmp_path, "--out", shipped, flag, "x")
    assert flag in done.failure(2)


def test_strings_are_scored_by_their_length() -> None:
    from mnist_core import models

    class Told(models.StringNet):
        """Tells the digit 7 in every frame."""

        def columns(self, frames: Any, training: bool = False) -> Any:
            return np.tile(9.0 * np.eye(models.StringNet.BLANK + 1)[[10, 7, 7, 10]], (len(frames), 1, 1))

    images, labels = draw(2000, seed=3)
    scores = ship._scores_of_strings(Told(), Config.from_recipe("strings"), Split(images, labels))
    right, counts = np.array(scores["test_strings_right"]), np.array(scores["test_strings"])
    assert counts.sum() == 2000
    assert right[0] / counts[0] == pytest.approx((labels == 7).mean(), abs=0.06)
    assert right[0] > 0
    assert not right[1:].any()
    assert f"| strings of 1 test digits read right | {right[0] / counts[0]:.1%} of {counts[0]:,} |" in (
        ship._rows_of_strings(scores)
    )
