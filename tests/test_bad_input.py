"""That whatever is wrong with the input costs one clear line and the agreed exit code, and leaves nothing."""

import functools
import gzip
import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnist_core.commands.train import KEYS
from mnist_core.data.datasets import FILES
from mnist_core.data.idx import release, write_idx
from mnist_core.runs import SHIPPED
from tests.invoke import Done, call, disk, leftovers, spawn

Train = Callable[..., Done]
IMAGES, LABELS = FILES[:2]
RANDOM = np.random.default_rng(0)
ARRAYS = [
    array
    for count in (60, 20)
    for array in (
        RANDOM.integers(0, 256, (count, 28, 28), np.uint8),
        RANDOM.integers(0, 10, count).astype(np.uint8),
    )
]


@pytest.fixture
def train(capsys: pytest.CaptureFixture, tmp_path: Path) -> Train:
    """Calls `train`, to log to ``tmp_path / "logs"``."""
    flags = ["--device", "cpu", "--model", "mlp", "--max-steps", 2, "--log-dir", tmp_path / "logs"]
    return functools.partial(call, capsys, "train", *flags)


def check_nothing_begun(done: Done, code: int, tmp_path: Path) -> str:
    """Checks that a start failed before it trained; returns its only line."""
    message = done.failure(code)
    assert len(done.stderr) == 1
    assert done.stdout == ""
    assert not (tmp_path / "logs").exists()
    return message


# Data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four good IDX files."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, array in zip(FILES, ARRAYS, strict=True):
        write_idx(folder / name, array)
    return folder


def truncated(folder: Path) -> Path:
    os.truncate(folder / IMAGES, 5000)
    return folder / IMAGES


def lengthened(folder: Path) -> Path:
    with (folder / LABELS).open("ab") as file:
        file.write(b"\0")
    return folder / LABELS


def empty(folder: Path) -> Path:
    os.truncate(folder / LABELS, 0)
    return folder / LABELS


def of_wrong_magic(folder: Path) -> Path:
    (folder / IMAGES).write_bytes(b"\x89PNG" + (folder / IMAGES).read_bytes()[4:])
    return folder / IMAGES


def corrupt(folder: Path) -> Path:
    content = bytearray(gzip.compress((folder / IMAGES).read_bytes()))
    content[len(content) // 2] ^= 255
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(content)
    return folder / f"{IMAGES}.gz"


def swapped(folder: Path) -> Path:
    shutil.copy(folder / FILES[3], folder / LABELS)
    return folder / LABELS


def without_digits(folder: Path) -> Path:
    write_idx(folder / LABELS, ARRAYS[1] + 100)
    return folder / LABELS


def missing(folder: Path) -> Path:
    (folder / LABELS).unlink()
    return folder


def a_folder(folder: Path) -> Path:
    (folder / LABELS).unlink()
    (folder / LABELS).mkdir()
    return folder / LABELS


DAMAGES = [
    truncated, lengthened, empty, of_wrong_magic, corrupt, swapped, without_digits, missing, a_folder,
]  # fmt: skip


@pytest.mark.parametrize("feed", ["resident", "streaming"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_data_file_is_named_and_nothing_begins(train, folder, tmp_path, damage, feed):
    where = damage(folder)
    done = train("--dataset", folder, "--feed", feed)
    assert str(where) in check_nothing_begun(done, 3, tmp_path)


def test_files_that_only_claim_to_be_mnist_are_never_used(train, folder, tmp_path):
    message = check_nothing_begun(train("--dataset", "mnist", "--data-dir", folder), 3, tmp_path)
    assert f"{folder / IMAGES}: not MNIST's" in message


@pytest.mark.parametrize("name", ["absent", "/dev/null", "absent.npz"])
def test_a_dataset_that_is_not_there_is_named(train, tmp_path, name):
    assert name in check_nothing_begun(train("--dataset", name), 3, tmp_path)


def test_a_process_of_its_own_says_just_that_one_line(folder, tmp_path):
    where = truncated(folder)
    done = spawn(
        "-m", "runners.train", "--dataset", folder, "--device", "cpu", "--log-dir", tmp_path / "logs"
    )
    assert str(where) in check_nothing_begun(done, 3, tmp_path)


class MapOfWindows(mmap.mmap):
    """A mapped file as Windows has it."""

    @property
    def madvise(self):
        raise AttributeError("madvise")


def test_mapped_files_need_nothing_that_windows_lacks(folder):
    with (folder / IMAGES).open("rb") as file:
        pages = MapOfWindows(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped = np.ndarray(len(pages), np.uint8, pages)
    release(mapped)
    assert mapped.tobytes() == (folder / IMAGES).read_bytes()


# Settings


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "99999999999"], "--batch-size"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "inf"], "--lr"),
        (["--precision", "float17"], "float17"),
        (["--model", "resnet152"], "resnet152"),
        (["--optimizer", "nope"], "nope"),
        (["--optimizer", "Optimizer"], "Optimizer"),
        (["--device", "tpu"], "tpu"),
        (["--run-name", "a/b"], "a/b"),
        (["--run-name", os.fsdecode(b"caf\xe9")], "must be UTF-8"),
        (["--validation-size", "60"], "--validation-size"),
        (["--epochs", "1" + 400 * "0"], "--epochs"),
        (["--eval-every", "sometimes"], "sometimes"),
        (["--patience", "1", "--validation-size", "0"], "--patience"),
        (["--patience", "1", "--eval-every", "0"], "--patience"),
        (["--recipe", "best", "--patience", "1"], "--patience"),
        (["--dry-run", "--resume", "logs/x"], "--resume"),
        (["--dry-run", "--resume"], "--resume"),
    ],
)
def test_an_unusable_setting_is_named(train, folder, tmp_path, flags, expected):
    done = train("--dataset", folder, *flags)
    assert expected in check_nothing_begun(done, 2, tmp_path)


def test_a_gpu_that_is_not_there_is_named(train, folder, tmp_path):
    done = train("--dataset", folder, "--device", "gpu:99")
    assert "--device gpu:99" in check_nothing_begun(done, 4, tmp_path)


def test_an_unknown_key_in_the_toml_is_named_with_its_file(train, folder, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("learning_rate = 0.1\n")
    message = check_nothing_begun(train("--dataset", folder, "--config", path), 2, tmp_path)
    assert f"{path}: unknown key 'learning_rate'" in message


@pytest.mark.parametrize("name", ["absent.toml", ""])
def test_a_toml_file_that_is_not_there_is_never_passed_over(train, folder, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_nothing_begun(train("--dataset", folder, "--config", name), 3, tmp_path)


def test_another_keras_backend_is_refused_before_keras_is_there(folder, tmp_path):
    flags = ["--dataset", folder, "--log-dir", tmp_path / "logs"]
    done = spawn("-m", "runners.train", *flags, KERAS_BACKEND="jax")
    assert "KERAS_BACKEND is jax" in check_nothing_begun(done, 2, tmp_path)


# Where runs go


def test_a_log_dir_that_is_a_file_is_refused_and_left_alone(train, folder, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for log_dir in (path, path / "below"):
        assert f"--log-dir {log_dir}" in check_nothing_begun(
            train("--dataset", folder, "--log-dir", log_dir), 2, tmp_path
        )
    assert path.read_text() == "mine"


def test_a_log_dir_that_cannot_be_written_is_refused(train, folder, tmp_path):
    with disk(tmp_path / "disk", "ro") as mounted:
        done = train("--dataset", folder, "--log-dir", mounted / "logs")
        assert f"--log-dir {mounted / 'logs'}" in check_nothing_begun(done, 2, tmp_path)


# Room for so many files and folders: from the first of the run directory to the last before the first step.
@pytest.mark.parametrize("options", ["size=4k", *(f"nr_inodes={count}" for count in range(3, 11))])
def test_a_disk_that_is_full_before_the_first_step_leaves_no_run_directory(train, folder, tmp_path, options):
    with disk(tmp_path / "disk", options) as mounted:
        done = train("--dataset", folder, "--log-dir", mounted / "logs")
        message = done.failure(1)
        assert str(mounted / "logs") in message
        assert "No space left on device" in message
        assert list((mounted / "logs").iterdir()) == []


def test_a_disk_that_is_full_for_the_pictures_costs_no_result(train, folder, tmp_path):
    # A checkpoint of 0.8 MB fits, and 0.4 MB of pictures don't.
    flags = ["--validation-size", 0, "--checkpoint-every", 0, "--json"]
    with disk(tmp_path / "disk", "size=1000k") as mounted:
        done = train("--dataset", folder, "--log-dir", mounted, *flags)
        assert done.code == 0
        (run,) = mounted.iterdir()
        assert json.loads((run / "result.json").read_text()) == done.json()
        assert done.stderr[-1].startswith("no plots: ")
        assert "No space left on device" in done.stderr[-1]
        assert leftovers(mounted) == []


# Runs


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three checkpoints."""
    from mnist_core.config import Config
    from mnist_core.files import write_json
    from mnist_core.loop.trainer import Trainer
    from mnist_core.runs import RESULT, create_run

    settings = {"model": "mlp", "device": "cpu", "max_steps": 3, "checkpoint_every": "1", "eval_every": "0"}
    log_dir = tmp_path_factory.mktemp("trained")
    config = Config(dataset=str(drawn), log_dir=str(log_dir), **settings)
    directory = create_run(config, {})
    Trainer(config).fit(directory)
    write_json(directory / RESULT, {"run_dir": str(directory)})
    return directory


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to damage."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def damage_checkpoints(run: Path, content: bytes | None, count: int = 3) -> list[Path]:
    """Overwrites the newest checkpoints; None cuts them short."""
    paths = sorted((run / "checkpoints").glob("step-*.npz"), reverse=True)[:count]
    for path in paths:
        path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    return paths


def archive(path: Path, **arrays: object) -> bytes:
    np.savez(path, **arrays)
    return path.read_bytes()


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "archive", "ours"])
def test_checkpoints_that_are_none_are_named_and_the_run_refused(run, tmp_path, capsys, command, kind):
    contents = {
        "truncated": None,
        "empty": b"",
        "text": b"weights\n",
        "archive": archive(tmp_path / "a.npz", weights=np.ones(3)),
        "ours": archive(tmp_path / "b.npz", meta=np.array(json.dumps({"format": 1, "step": 3}))),
    }
    paths = damage_checkpoints(run, contents[kind])
    (run / "result.json").unlink()
    before = sorted(run.rglob("*"))
    done = call(capsys, command, "--resume" if command == "train" else "--run", run)
    assert str(run) in done.failure(3)
    assert str(paths[0]) in "\n".join(done.stderr)
    assert done.stdout == ""
    assert sorted(run.rglob("*")) == before


def test_evaluate_takes_the_checkpoint_before_a_truncated_one_and_says_so(run, capsys):
    (newest,) = damage_checkpoints(run, None, count=1)
    done = call(capsys, "evaluate", "--run", run, "--json")
    assert done.code == 0
    assert done.json()["count"] == 200
    (line,) = done.stderr
    assert line.startswith(f"skipped a checkpoint: {newest}: ")


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe", b'{"lr": "fast"}'])
def test_a_damaged_configuration_of_a_run_is_named(run, capsys, command, content):
    (run / "config.json").write_bytes(content)
    done = call(capsys, command, "--resume" if command == "train" else "--run", run)
    assert str(run / "config.json") in done.failure(3)
    assert len(done.stderr) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"{}", b"\xff\xfe"])
def test_a_damaged_result_of_a_run_is_named(run, capsys, content):
    (run / "result.json").write_bytes(content)
    assert str(run / "result.json") in call(capsys, "train", "--resume", run).failure(3)


@pytest.mark.parametrize("change", [("steps", None), ("test_accuracy", "high"), ("epochs", [])])
def test_a_result_of_something_else_than_training_is_named(run, capsys, change):
    result = dict.fromkeys(KEYS, 0) | {change[0]: change[1]}
    (run / "result.json").write_text(json.dumps({k: v for k, v in result.items() if v is not None}))
    done = call(capsys, "train", "--resume", run)
    assert str(run / "result.json") in done.failure(3)
    assert len(done.stderr) == 1


def test_the_shipped_weights_are_no_run_to_go_on_with(capsys):
    done = call(capsys, "train", "--resume", SHIPPED)
    assert "result.json is not the result of a training run (it lacks run_dir, " in done.failure(3)
    assert len(done.stderr) == 1


@pytest.mark.parametrize("content", [b'{"step": 1}\n', b"[1]\n", b'"text"\n'])
def test_a_history_that_is_none_is_named(run, capsys, content):
    (run / "result.json").unlink()
    (run / "metrics.jsonl").write_bytes(content)
    done = call(capsys, "train", "--resume", run)
    assert str(run / "metrics.jsonl") in done.failure(3)


@pytest.mark.parametrize(
    ("command", "flag"),
    [("evaluate", "--run"), ("plot", "--run"), ("train", "--resume"), ("plot", "--log-dir")],
)
@pytest.mark.parametrize("name", ["absent", pytest.param(300 * "a", id="a name that is too long")])
def test_a_run_that_is_not_there_is_named(capsys, tmp_path, command, flag, name):
    done = call(capsys, command, flag, tmp_path / name)
    assert str(tmp_path / name) in done.failure(3)
    assert len(done.stderr) == 1


def test_a_name_that_a_terminal_can_not_show_is_listed_like_any_other(tmp_path):
    name = tmp_path / os.fsdecode(b"n\xe9.jpg")
    name.write_bytes(b"no picture")
    argv = ["-m", "runners.predict", name, tmp_path / "nope.png"]
    done = spawn(*argv, PYTHONIOENCODING="utf-8")
    assert "n\\udce9.jpg" in done.stdout
    assert "nope.png" in done.stdout
    done.failure(3)
