"""That run directories are made whole, found by age, and give their network back."""

import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_core import runs
from mnist_core.config import Config, read_json
from mnist_core.errors import InputError, MnistCoreError, UsageError
from tests.invoke import disk

ENVIRONMENT = {"python": "3.11", "gpus": []}


def refused(error: type[MnistCoreError], function: Any, *args: Any, **options: Any) -> str:
    """The message of the error that a call raises, which must be one line."""
    with pytest.raises(error) as raised:
        function(*args, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Making one


def test_a_run_directory_says_what_runs_and_on_what(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "--run-name", "a b"])
    config = Config(log_dir=str(tmp_path / "deep" / "logs"), run_name="a b")
    directory = runs.create_run(config, ENVIRONMENT)
    assert re.fullmatch(r"\d{8}-\d{6}-a b", directory.name)
    assert directory.parent == tmp_path / "deep" / "logs"
    assert read_json(directory / runs.CONFIG) == config
    assert json.loads((directory / runs.ENVIRONMENT).read_text()) == ENVIRONMENT
    assert (directory / "argv.txt").read_text() == "train --run-name 'a b'\n"
    assert len(list(directory.iterdir())) == 3


def test_runs_of_the_same_second_are_kept_apart(tmp_path):
    config = Config(log_dir=str(tmp_path), run_name="twin")
    names = [runs.create_run(config, ENVIRONMENT).name for _ in range(30)]
    assert len(set(names)) == 30
    assert all("-twin" in name for name in names)


@pytest.mark.parametrize("name", ["a/b", "../a", "/a", "a/", ".", "/"])
def test_a_run_name_is_one_name(tmp_path, name):
    config = Config(log_dir=str(tmp_path / "logs"), run_name=name)
    message = refused(UsageError, runs.create_run, config, ENVIRONMENT)
    assert "--run-name" in message
    assert name in message
    assert list(tmp_path.iterdir()) == []


def test_a_log_dir_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for log_dir in (path, path / "below"):
        message = refused(UsageError, runs.create_run, Config(log_dir=str(log_dir)), ENVIRONMENT)
        assert f"--log-dir {log_dir}" in message
    assert path.read_text() == "mine"


def test_a_log_dir_that_cannot_be_written_is_refused(tmp_path):
    with disk(tmp_path / "disk", "ro") as folder:
        for log_dir in (folder, folder / "below"):
            message = refused(UsageError, runs.create_run, Config(log_dir=str(log_dir)), ENVIRONMENT)
            assert f"--log-dir {log_dir}" in message
            assert "Read-only" in message


# A disk with room for so many files and folders: its own, the log directory, the run's, then the run's files.
@pytest.mark.parametrize("options", ["nr_inodes=3", "nr_inodes=4", "nr_inodes=5", "size=4k", "size=8k"])
def test_a_full_disk_leaves_no_run_directory(tmp_path, options):
    with disk(tmp_path / "disk", options) as folder:
        with pytest.raises(OSError, match="No space") as raised:
            runs.create_run(Config(log_dir=str(folder / "logs")), ENVIRONMENT)
        assert str(folder / "logs") in raised.value.filename
        assert list((folder / "logs").iterdir()) == []


# Finding one


def make_run(log_dir: Path, name: str, *, finished: bool, result: str = '{"dataset": "digits"}') -> Path:
    directory = log_dir / name
    directory.mkdir(parents=True)
    (directory / runs.ENVIRONMENT).write_text("{}")
    (directory / runs.CONFIG).write_text(json.dumps(Config().to_json()))
    if finished:
        (directory / runs.RESULT).write_text(result)
    return directory


def test_the_newest_finished_run_is_found_and_the_newest_unfinished_one(tmp_path):
    names = [
        "20240101-000000-z",
        "20250101-000000-a",
        "20250101-000001-a",
        "20250102-000000-a",
        "20250103-000000-a",
    ]
    made = [make_run(tmp_path, name, finished=name.endswith(("z", "1-a", "0000-a"))) for name in names[:3]]
    unfinished = [make_run(tmp_path, name, finished=False) for name in names[3:]]
    (tmp_path / "20990101-000000-notes").mkdir()
    (tmp_path / "20990101-000000-file").write_text("")
    assert runs.find_run(None, tmp_path) == made[-1]
    assert runs.find_unfinished_run(tmp_path) == unfinished[-1]


def test_what_python_keeps_is_no_run_to_go_on_with(tmp_path):
    mine = make_run(tmp_path, "mine", finished=False)
    assert runs.find_unfinished_run(tmp_path) == mine
    (mine / runs.ENVIRONMENT).unlink()
    assert runs.find_unfinished_run(tmp_path) is None
    assert runs.find_run(mine) == mine


def test_runs_of_the_same_second_are_ordered_by_when_they_were_made(tmp_path):
    made = [make_run(tmp_path, f"20250101-000000-{name}", finished=True) for name in ("b", "c", "a")]
    for age, directory in enumerate(made):
        os.utime(directory / runs.CONFIG, (1000 + age, 1000 + age))
    assert runs.find_run(None, tmp_path) == made[-1]


def test_a_name_without_a_time_is_older_than_any_time(tmp_path):
    names = ["20250101-000000-a", "keep-old", "99999999", "2026-mine"]
    made = [make_run(tmp_path, name, finished=True) for name in names]
    for age, directory in enumerate(made):
        os.utime(directory / runs.CONFIG, (1000 + age, 1000 + age))
    assert runs.find_run(None, tmp_path) == made[0]
    shutil.rmtree(made[0])
    assert runs.find_run(None, tmp_path) == made[-1]


def test_a_run_that_is_named_need_not_be_finished(tmp_path):
    directory = make_run(tmp_path, "20250101-000000-a", finished=False)
    assert runs.find_run(directory) == directory
    assert runs.find_run(str(directory), tmp_path / "elsewhere") == directory


def test_where_no_run_has_finished_the_shipped_weights_are_taken(tmp_path):
    make_run(tmp_path / "logs", "20250101-000000-a", finished=False)
    for name in ("logs", "absent"):
        assert runs.find_run(None, tmp_path / name) == runs.SHIPPED


def test_what_is_not_there_is_an_input_error_that_names_it(tmp_path):
    make_run(tmp_path / "logs", "20250101-000000-a", finished=False)
    for name in ("logs", "absent"):
        folder = tmp_path / name
        assert str(folder) in refused(InputError, runs.find_run, None, folder, shipped=False)
    assert str(tmp_path / "logs") in refused(InputError, runs.find_run, tmp_path / "logs")
    assert runs.find_unfinished_run(tmp_path / "absent") is None


# Reading one


def test_a_run_that_has_not_ended_has_no_result(tmp_path):
    assert runs.read_result(make_run(tmp_path, "20250101-000000-a", finished=False)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "{}"])
def test_a_damaged_result_is_an_input_error_that_names_it(tmp_path, text):
    directory = make_run(tmp_path, "20250101-000000-a", finished=True, result=text)
    assert str(directory / runs.RESULT) in refused(InputError, runs.read_result, directory)


def test_a_finished_run_knows_what_auto_stood_for(tmp_path):
    assert runs.dataset_of(make_run(tmp_path, "20250101-000000-a", finished=True)) == "digits"
    assert runs.dataset_of(make_run(tmp_path, "20250101-000000-b", finished=False)) == "auto"


# Its network


def fit(log_dir: Path, **settings: Any) -> tuple[Any, Any]:
    """Trains a little on noise; returns the trainer and its result."""
    from mnist_core.data.split import Dataset, Split
    from mnist_core.loop.trainer import Trainer

    random = np.random.default_rng(0)
    splits = [
        Split(random.integers(0, 256, (n, 28, 28), np.uint8), random.integers(0, 10, n).astype(np.uint8))
        for n in (96, 32)
    ]
    settings = {
        "model": "mlp",
        "device": "cpu",
        "batch_size": 16,
        "max_steps": 6,
        "checkpoint_every": "2",
        **settings,
    }
    config = Config(log_dir=str(log_dir), eval_every="0", **settings)
    trainer = Trainer(config, data=Dataset("noise", *splits))
    directory = runs.create_run(config, ENVIRONMENT)
    return trainer, trainer.fit(directory)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return fit(tmp_path_factory.mktemp("logs"))


@pytest.fixture
def copy(trained: tuple[Any, Any], tmp_path: Path) -> Path:
    """A copy of the trained run, to damage."""
    directory = trained[1].run.directory
    return Path(shutil.copytree(directory, tmp_path / directory.name))


def checkpoints(directory: Path) -> list[Path]:
    """Newest first."""
    return sorted((directory / "checkpoints").glob("step-*.npz"), reverse=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(path: Path, **changes: Any) -> None:
    """Changes arrays and meta data of a checkpoint; None leaves a datum out."""
    with np.load(path) as archive:
        arrays = {name: changes.pop(name, archive[name]) for name in archive.files}
    meta = json.loads(str(arrays.pop("meta"))) | changes
    text = json.dumps({name: value for name, value in meta.items() if value is not None})
    np.savez(path, meta=np.array(text), **arrays)


@pytest.mark.parametrize(
    "settings", [{}, {"model": "digitnet", "precision": "mixed_bfloat16", "max_steps": 2}]
)
def test_a_loaded_network_gives_the_very_logits_of_the_trained_one(tmp_path, trained, settings):
    trainer, result = fit(tmp_path, **settings) if settings else trained
    images = np.random.default_rng(1).random((50, 28, 28, 1), np.float32)
    model, directory = runs.load_model(result.run.directory)
    assert directory == result.run.directory
    np.testing.assert_array_equal(model(images).numpy(), trainer.state.model(images).numpy(), strict=True)


def test_averaged_weights_are_the_ones_that_are_loaded(tmp_path):
    from mnist_core.loop.checkpoint import read_checkpoint
    from mnist_core.loop.evaluator import Evaluator

    trainer, result = fit(tmp_path, ema=0.99)
    model, directory = runs.load_model(result.run.directory)
    groups, _ = read_checkpoint(checkpoints(directory)[0])
    for weight, average, last in zip(model.weights, groups["average"], groups["model"], strict=True):
        np.testing.assert_array_equal(weight.numpy(), average)
        assert not np.array_equal(average, last)
    assert Evaluator(model)(trainer.data.test).loss == result.report.loss


def test_a_truncated_checkpoint_gives_way_to_the_one_before_which_is_said(copy, capsys):
    newest, before, *_ = checkpoints(copy)
    cut(newest)
    model, _ = runs.load_model(copy)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(newest) in line
    with np.load(before) as archive:
        np.testing.assert_array_equal(model.weights[0].numpy(), archive["model/000"])


def test_a_run_without_an_intact_checkpoint_is_an_input_error(copy, capsys):
    for path in checkpoints(copy):
        cut(path)
    message = refused(InputError, runs.load_model, copy)
    assert str(copy) in message
    assert "--resume" not in message
    assert capsys.readouterr().err.count("\n") == 3


def test_a_run_without_a_checkpoint_is_an_input_error(copy):
    shutil.rmtree(copy / "checkpoints")
    assert str(copy) in refused(InputError, runs.load_model, copy)


@pytest.mark.parametrize(
    "changes", [{"precision": None}, {"model": None}, {"model": {}}, {"model/002": np.zeros([128, 9], "f4")}]
)
def test_a_checkpoint_of_something_else_is_an_input_error_that_names_it(copy, changes):
    newest = checkpoints(copy)[0]
    rewrite(newest, **changes)
    assert str(newest) in refused(InputError, runs.load_model, copy)


def test_a_network_whose_class_is_not_known_is_an_input_error_that_says_what_to_import(copy):
    newest = checkpoints(copy)[0]
    stranger = {
        "module": None,
        "class_name": "Stranger",
        "config": {},
        "registered_name": "elsewhere>Stranger",
    }
    rewrite(newest, model=stranger)
    message = refused(InputError, runs.load_model, copy)
    assert "Stranger" in message
    assert "register_keras_serializable" in message


def test_a_network_that_takes_no_config_is_an_input_error_that_says_what_to_change(copy):
    import keras

    @keras.saving.register_keras_serializable("tests")
    class TakesNothing(keras.Model):
        def __init__(self) -> None:
            super().__init__()

    rewrite(checkpoints(copy)[0], model=keras.saving.serialize_keras_object(TakesNothing()))
    message = refused(InputError, runs.load_model, copy)
    assert "TakesNothing" in message
    assert "**kwargs" in message


def test_where_validation_may_stop_a_run_its_period_is_part_of_the_run(tmp_path: Path) -> None:
    for stops in ({"patience": 2}, {"target_accuracy": 0.9}, {}):
        config = Config(log_dir=str(tmp_path), **stops)
        directory = runs.create_run(config, {})
        changed = config.replace(eval_every="50")
        if stops:
            with pytest.raises(UsageError, match=r"--eval-every is 50, but .* was started with 1ep"):
                runs.check_same(directory, changed)
        else:
            runs.check_same(directory, changed)


def test_a_run_that_vanishes_while_others_are_looked_for_is_passed_over(tmp_path: Path) -> None:
    runs.create_run(Config(log_dir=str(tmp_path)), {})
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            shutil.rmtree(runs.create_run(Config(log_dir=str(tmp_path), run_name="brief"), {}))

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):
            assert runs.find_unfinished_run(tmp_path) is not None
    finally:
        ended.set()
        thread.join()
