"""The plot command draws what a run has data for, and names what it can't read."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mnist_core.commands.plot import draw_run
from mnist_core.config import Config
from mnist_core.data.datasets import load
from mnist_core.data.split import Dataset
from mnist_core.errors import InputError, UsageError
from mnist_core.files import write_json
from mnist_core.metrics import Tally
from mnist_core.reporting.history import read_history

STEPS_PER_EPOCH = 10
FILES = [
    "accuracy.png",
    "loss.png",
    "learning_rate.png",
    "confusion.png",
    "per_class.png",
    "misclassified.png",
]


def records(data: Dataset) -> list[dict[str, Any]]:
    """The journal of a run of two epochs on the dataset, with seven errors on its test images."""
    labels = data.test.labels.astype(int)
    logits = 9 * np.eye(10, dtype=np.float32)[labels]
    logits[np.arange(7), (labels[:7] + 1) % 10] = 11
    tally = Tally()
    tally.add(logits, labels)
    scores = tally.report().to_json()
    lines: list[dict[str, Any]] = []
    for step in range(1, 2 * STEPS_PER_EPOCH + 1):
        epoch = step / STEPS_PER_EPOCH
        rates = {"error_count": 3, "learning_rate": 0.1 / step, "gradient_norm": 1.0}
        train = {"kind": "train", "step": step, "epoch": epoch, "loss": 2 / step, "accuracy": 1 - 1 / step}
        lines.append(train | rates)
        if step % STEPS_PER_EPOCH == 0:
            evaluation = {name: value for name, value in scores.items() if name != "misclassified"}
            lines.append({"kind": "eval", "step": step, "epoch": epoch, **evaluation})
    return [*lines, {"kind": "test", "step": step, "epoch": epoch, **scores}]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on scikit-learn's digits; copy it before changing it."""
    run = tmp_path_factory.mktemp("logs") / "20300101-000000-digitnet"
    run.mkdir()
    write_json(run / "config.json", Config(dataset="digits").to_json())
    write_json(run / "result.json", {"run_dir": str(run), "dataset": "digits"})
    write_lines(run, records(load("digits")))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def write_lines(run: Path, lines: list[Any]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_lines(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def plot(*flags: str) -> subprocess.CompletedProcess:
    """Runs the command as a user does; exit code 99 says that it imported TensorFlow."""
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('runners.plot', run_name='__main__')\n"
        "finally: 'tensorflow' in sys.modules and sys.exit(99)"
    )
    return subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=False)


def test_the_command_writes_all_pictures_of_the_newest_finished_run(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "pictures"
    done = plot("--log-dir", str(finished.parent), "--out", str(out), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"run_dir": str(finished), "files": [str(out / name) for name in FILES]}
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    for path in out.iterdir():
        assert cv2.imread(str(path)).std() > 5


def test_help_needs_no_tensorflow_and_names_the_flags() -> None:
    done = plot("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"--run", "--log-dir", "--out", "--json"} <= set(done.stdout.replace(",", " ").split())


def test_a_failure_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    done = plot("--run", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert str(tmp_path / "none") in done.stderr


@pytest.mark.parametrize(
    ("kinds", "drawn"),
    [
        (("train",), FILES[:3]),
        (("train", "eval"), FILES[:5]),
        (("eval",), [*FILES[:2], *FILES[3:5]]),
    ],
)
def test_a_run_gets_the_pictures_its_data_allow(
    run: Path, kinds: tuple[str, ...], drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(run, [line for line in read_lines(run) if line["kind"] in kinds])
    paths = draw_run(run, run / "plots")
    assert [path.name for path in paths] == drawn
    assert sorted(path.name for path in (run / "plots").iterdir()) == sorted(drawn)
    told = capsys.readouterr().err
    assert [name for name in FILES if name in told] == [name for name in FILES if name not in drawn]


def test_drawing_again_replaces_the_pictures_and_auto_is_what_the_result_says(run: Path) -> None:
    write_json(run / "config.json", Config(dataset="auto").to_json())
    (run / "plots").mkdir()
    (run / "plots" / "loss.png").write_bytes(b"old")
    draw_run(run, run / "plots")
    assert cv2.imread(str(run / "plots" / "loss.png")) is not None
    assert sorted(path.name for path in (run / "plots").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("dataset", ["synthetic", "missing-folder"])
def test_images_that_are_gone_or_others_cost_only_their_picture(
    run: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(run / "config.json", Config(dataset=dataset).to_json())
    assert [path.name for path in draw_run(run, run / "plots")] == FILES[:5]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("misclassified.png left out: ")
    assert dataset in told


@pytest.mark.mnist
def test_mnist_is_found_in_the_data_dir_of_the_run(run: Path, mnist_dir: Path) -> None:
    write_json(run / "config.json", Config(dataset="mnist", data_dir=str(mnist_dir)).to_json())
    write_lines(run, records(load("mnist", mnist_dir)))
    assert [path.name for path in draw_run(run, run / "plots")] == FILES


def test_history_keeps_every_record_in_order(finished: Path) -> None:
    lines = read_lines(finished)
    history = read_history(finished / "metrics.jsonl")
    assert history.train == [line for line in lines if line["kind"] == "train"]
    assert history.evals == [line for line in lines if line["kind"] == "eval"]
    assert history.test == lines[-1]


def test_a_last_line_cut_short_anywhere_is_passed_over(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (1, 10, 11):
        for cut in (1, 8, len(lines[kept]) // 2, len(lines[kept]) - 2):
            path.write_bytes(b"".join(lines[:kept]) + lines[kept][:cut])
            history = read_history(path)
            assert len(history.train) + len(history.evals) == kept
    path.write_bytes(b"".join(lines[:5]).rstrip(b"\n"))
    assert len(read_history(path).train) == 5, "only the end of the line is missing"


def test_a_logged_step_that_diverged_may_lack_its_loss(run: Path) -> None:
    lines = read_lines(run)
    lines[3]["loss"] = None
    write_lines(run, lines)
    assert read_history(run / "metrics.jsonl").train[3]["loss"] is None


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (b'{"kind":"tra', "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "kind"),
        (b'{"kind": ["train"]}', "kind"),
        (b'{"kind": "trial", "epoch": 1}', "kind"),
        (b'{"kind": "train", "epoch": 1, "accuracy": 1, "learning_rate": 1}', "loss is not a number"),
        (b'{"kind": "train", "epoch": null, "loss": 1}', "epoch is not a number"),
        (b'{"kind": "eval", "epoch": 1, "loss": "1"}', "loss is not a number"),
        (b'{"kind": "eval", "epoch": 1, "loss": 1, "accuracy": 1, "confusion": [[1]]}', "confusion"),
        (b'{"kind": "test", "epoch": 1, "loss": 1, "accuracy": 1}', "confusion"),
    ],
)
def test_any_other_malformed_line_is_named(run: Path, broken: bytes, fault: str) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    for place in (0, 4, len(lines)):
        path.write_bytes(b"\n".join([*lines[:place], broken, *lines[place:]]) + b"\n")
        with pytest.raises(InputError, match=rf"metrics\.jsonl, line {place + 1}: .*{fault}"):
            read_history(path)


def test_a_missing_or_empty_history_is_an_input_error_that_names_it(run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match=r"metrics\.jsonl holds no step yet"):
        draw_run(run, run / "plots")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"metrics\.jsonl: No such file"):
        draw_run(run, run / "plots")
    assert not (run / "plots").exists()


def test_an_out_that_is_a_file_is_a_usage_error(run: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json: .*--out"):
        draw_run(run, run / "config.json")
