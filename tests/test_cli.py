"""That the commands answer as agreed: help without TensorFlow, one JSON document, settings, exit codes."""

import argparse
import ast
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mnist_core import __version__, cli, imports
from mnist_core.config import Config
from mnist_core.loop.checkpoint import Checkpoints
from mnist_core.settings import flag
from tests.forks import wait_until
from tests.invoke import ROOT, Done, call, leftovers, spawn

RUNNERS = sorted(path.stem for path in (ROOT / "runners").glob("*.py"))
HEAVY = {"tensorflow", "keras", "cv2", "matplotlib", "fastapi", "uvicorn"}
SCRIPT = Path(sys.executable).with_name("mnist-core")
TRAIN_KEYS = {
    "run_dir", "dataset", "recipe", "model", "parameters", "device", "precision", "epochs", "steps",
    "train_seconds", "images_per_second", "test_accuracy", "test_loss", "test_errors", "test_count",
    "weights_sha256",
}  # fmt: skip
EVALUATE_KEYS = {"run_dir", "dataset", "count", "accuracy", "loss", "errors", "confusion", "per_class"}


def script(*argv: object, **options: Any) -> Done:
    """Runs the console script, which must be installed beside this Python."""
    if not SCRIPT.exists():
        pytest.skip(f"{SCRIPT} is not there: install the project")
    return spawn(SCRIPT, *argv, **options)


# Help and usage


def test_every_runner_is_a_subcommand_of_the_console_script():
    assert sorted(cli.COMMANDS) == RUNNERS


@pytest.mark.parametrize("name", RUNNERS)
def test_help_comes_without_tensorflow(name):
    done = spawn("-X", "importtime", "-m", f"runners.{name}", "--help")
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr}
    assert "mnist_core" in imported
    assert not imported & HEAVY
    assert done.code == 0
    command = ast.parse((ROOT / "mnist_core" / "commands" / f"{name}.py").read_text())
    assert ast.get_docstring(command).splitlines()[0] in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("name", RUNNERS)
def test_a_runner_works_as_a_file_from_any_folder(name, tmp_path):
    done = spawn(ROOT / "runners" / f"{name}.py", "--help", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, [])
    assert done.stdout.startswith("usage: ")


def test_the_console_script_says_its_version_and_the_help_of_its_commands(tmp_path):
    assert script("--version", cwd=tmp_path) == Done(0, f"mnist-core {__version__}\n", [])
    assert "{train,evaluate" in script("--help").stdout
    assert script("train", "--help", cwd=tmp_path).stdout.startswith("usage: mnist-core train ")


@pytest.mark.parametrize("argv", [(), ("trian",), ("--josn", "train"), ("train", "--lr", "nan")])
def test_the_console_script_refuses_what_it_does_not_know_in_one_line(argv):
    done = script(*argv)
    assert done.failure(2).startswith("mnist-core")
    assert len(done.stderr) == 1
    assert done.stdout == ""


def test_a_python_without_the_packages_is_told_to_be_another():
    # -S hides what is installed.
    done = spawn("-S", "-m", "runners.train", "--dataset", "synthetic")
    assert done.code == 2
    (line,) = done.stderr
    assert "is not installed for" in line
    assert "activate" in line


def test_a_reader_that_leaves_early_is_no_failure():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = spawn("-m", "runners.train", "--help", stdout=pipe)
    assert (done.code, done.stderr) == (0, [])


@pytest.mark.parametrize(
    "argv",
    [
        ["--nonsense"],
        ["stray"],
        ["--batch", "64"],
        ["--run", "logs/x"],
        ["--lr"],
        ["--lr", "fast"],
        ["--epochs", "1.5"],
        ["--recipe", "slow"],
        ["--json=yes"],
    ],
)
def test_usage_mistakes_are_one_line_that_names_them(argv, capsys):
    done = call(capsys, "train", *argv)
    assert argv[0].split("=")[0] in done.failure(2)
    assert done.failure(2).endswith("see python -m runners.train --help")
    assert len(done.stderr) == 1


# Settings


def settings(*argv: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    cli.add_config_arguments(parser)
    return cli.given_settings(parser.parse_args([str(argument) for argument in argv]))


def test_only_what_is_given_is_set():
    assert settings() == {}
    assert settings("--lr", "0.2", "--no-nesterov") == {"lr": 0.2, "nesterov": False}


def test_flags_win_over_toml_which_wins_over_the_recipe_which_wins_over_the_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('recipe = "quick"\nepochs = 5\nlr = 0.5\n')
    given = settings("--config", path, "--lr", "0.7")
    config = Config.from_mapping(given)
    assert (config.lr, config.epochs, config.shift, config.momentum) == (0.7, 5, 0.0, Config().momentum)
    assert Config().shift != 0.0
    assert config.recipe == "quick"


def test_the_recipe_of_a_flag_replaces_the_one_of_the_toml(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('recipe = "quick"\nlr = 0.5\n')
    config = Config.from_mapping(settings("--config", path, "--recipe", "default"))
    assert config == Config(lr=0.5)


def test_every_setting_has_a_flag_in_both_spellings():
    parser = argparse.ArgumentParser()
    cli.add_config_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    for field in dataclasses.fields(Config):
        assert flag(field.name) in known
        assert f"--{field.name}" in known
    assert settings("--batch_size", "64") == settings("--batch-size", "64") == {"batch_size": 64}


def test_a_number_in_a_flag_is_what_toml_would_give(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('max_steps = 7\ntarget_accuracy = 0.5\neval_every = "2ep"\ndeterministic = true\n')
    flags = ["--max-steps", "7", "--target-accuracy", "0.5", "--eval-every", "2ep", "--deterministic"]
    assert settings("--config", path) == settings(*flags)


# Runs


@pytest.fixture(scope="module")
def small(drawn: Path) -> list[object]:
    """The flags of a run that takes a second."""
    return ["--device", "cpu", "--dataset", drawn, "--model", "mlp", "--batch-size", 100, "--max-steps", 6]


@pytest.fixture(scope="module")
def trained(small: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A log directory, and how `train --json` ended that wrote to it: by its file, from another folder."""
    folder = tmp_path_factory.mktemp("trained")
    return folder / "logs", spawn(ROOT / "runners" / "train.py", *small, "--json", cwd=folder)


def test_train_prints_one_json_document_and_says_the_rest_on_stderr(trained):
    log_dir, done = trained
    assert done.code == 0
    assert len(done.stderr) == 1, "one line says what runs, and TensorFlow is silent"
    result = done.json()
    assert set(result) >= TRAIN_KEYS
    assert (result["dataset"], result["model"], result["steps"]) == ("drawn.npz", "mlp", 6)
    assert (result["test_count"], result["recipe"]) == (200, "default")
    assert result["test_errors"] == round((1 - result["test_accuracy"]) * 200)
    assert Path(result["run_dir"]) == Path("logs") / next(log_dir.iterdir()).name


def test_train_leaves_the_agreed_files_and_nothing_half_written(trained):
    log_dir, done = trained
    (run,) = log_dir.iterdir()
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.json", "environment.json", "argv.txt", "metrics.jsonl", "result.json",
        "train", "eval", "checkpoints", "plots",
    }  # fmt: skip
    assert leftovers(log_dir) == []
    assert json.loads((run / "result.json").read_text()) == done.json()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_evaluate_agrees_with_train_in_one_json_document(trained):
    log_dir, done = trained
    evaluated = spawn("-m", "runners.evaluate", "--log-dir", log_dir, "--json")
    assert (evaluated.code, evaluated.stderr) == (0, [])
    scores, result = evaluated.json(), done.json()
    assert set(scores) >= EVALUATE_KEYS
    assert scores["run_dir"] == str(next(log_dir.iterdir()))
    for name in ("accuracy", "loss", "errors", "count"):
        assert scores[name] == result[f"test_{name}"]
    assert sum(map(sum, scores["confusion"])) == 200
    assert [row["digit"] for row in scores["per_class"]] == list(range(10))


def test_evaluate_for_people_is_a_table(trained, capsys):
    run = next(trained[0].iterdir())
    done = call(capsys, "evaluate", "--run", run, "--batch-size", 7)
    assert (done.code, done.stderr) == (0, [])
    assert f"{trained[1].json()['test_accuracy']:.2%}" in done.stdout
    assert len(done.stdout.splitlines()) == 13


def test_a_missed_target_exits_6_after_the_json_and_so_does_the_finished_run(small, tmp_path, capsys):
    flags = [*small, "--target-accuracy", "1.0", "--log-dir", tmp_path / "logs", "--json"]
    done = call(capsys, "train", *flags)
    assert "--target-accuracy 1.0" in done.failure(6)
    run = Path(done.json()["run_dir"])
    assert json.loads((run / "result.json").read_text()) == done.json()
    again = call(capsys, "train", "--resume", run, "--json")
    assert again.failure(6) == done.failure(6)
    assert again.json() == done.json()


def test_a_dry_run_leaves_nothing_behind_and_misses_no_target(small, tmp_path, capsys):
    flags = ["--dry-run", "--target-accuracy", "1.0", "--log-dir", tmp_path / "logs", "--json"]
    done = call(capsys, "train", *small, *flags)
    assert done.code == 0
    assert done.json()["steps"] == 2
    assert done.json()["run_dir"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_one_block_has_no_throughput_and_may_be_deterministic(small, tmp_path):
    # In a process of its own: what makes ops deterministic stays on.
    arguments = ["--model", "digitnet", "--deterministic", "--log-dir", tmp_path]
    done = spawn("-m", "runners.train", *small, *arguments)
    assert done.code == 0, done.stderr
    assert "digitnet" in done.stdout
    assert "images/s" not in done.stdout


def test_a_run_that_diverges_exits_5_and_names_the_steps(small, tmp_path, capsys):
    flags = [
        "--lr",
        "1e9",
        "--schedule",
        "constant",
        "--steps-per-block",
        "4",
        "--log-dir",
        tmp_path / "logs",
    ]
    done = call(capsys, "train", *small, *flags)
    message = done.failure(5)
    assert "steps 1-4" in message or "steps 5-6" in message
    assert "--lr" in message
    assert done.stdout == ""
    assert leftovers(tmp_path) == []
    (run,) = (tmp_path / "logs").iterdir()
    assert not (run / "result.json").exists()


def test_an_interrupt_saves_exits_130_and_says_how_to_go_on(start, small, tmp_path):
    log_dir = tmp_path / "logs"
    training = start(*small[:-1], 10**9, "--epochs", 10**4, "--log-dir", log_dir)
    wait_until(lambda: any(path.stat().st_size for path in log_dir.glob("*/metrics.jsonl")))
    training.signal(signal.SIGINT)
    done = Done(training.wait(), training.stdout, training.stderr)
    (run,) = log_dir.iterdir()
    assert f"--resume {run}" in done.failure(130)
    assert done.stdout == ""
    assert len(Checkpoints(run / "checkpoints").paths()) >= 1
    assert leftovers(log_dir) == []


def test_a_result_that_stdout_has_no_room_for_is_one_line_and_1(trained):
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here: no stdout that is full")
    with full.open("wb") as stdout:
        done = spawn("-m", "runners.plot", "--log-dir", trained[0], stdout=stdout)
    assert "No space" in done.failure(1)
    assert len(done.stderr) == 1


def test_a_result_that_nobody_reads_keeps_the_exit_code(trained):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = spawn("-m", "runners.predict", "--log-dir", trained[0], "--json", "absent.png", stdout=pipe)
    assert "absent.png" in done.failure(3)


@pytest.mark.parametrize("closed", [False, True], ids=["its reader has gone", "it is closed"])
def test_a_run_does_not_need_a_stderr(small, tmp_path, closed):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "runners.train", *map(str, small), "--log-dir", tmp_path, "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=pipe,
            preexec_fn=(lambda: os.close(2)) if closed else None,
            check=False,
        )
    assert done.returncode == 0
    (run,) = tmp_path.iterdir()
    assert json.loads((run / "result.json").read_text()) == json.loads(done.stdout)


def test_ctrl_c_that_is_swallowed_still_ends_the_import() -> None:
    with pytest.raises(KeyboardInterrupt), imports._interrupts_kept(), contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_that_a_library_makes_another_error_of_still_ends_the_import() -> None:
    # pybind11 does so where the module that it starts is interrupted, and Keras where `optree` is.
    with pytest.raises(KeyboardInterrupt), imports._interrupts_kept():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("cause, code", [("KeyboardInterrupt", 130), ("None", 1)])
def test_ctrl_c_at_the_root_of_an_import_error_is_an_interrupt(cause: str, code: int) -> None:
    failing = f"""
from mnist_core.cli import _exit_codes
with _exit_codes("it"):
    raise ImportError("gone") from {cause}
"""
    done = spawn("-c", failing)
    assert done.code == code
    assert any("it: error: interrupted" in line for line in done.stderr) == (code == 130)
    assert ("ImportError: gone" in done.stderr) == (code == 1)


def test_errors_without_ctrl_c_stay_what_they_are() -> None:
    with pytest.raises(ImportError, match="gone"), imports._interrupts_kept():
        raise ImportError("gone")


@pytest.mark.parametrize("command", ["predict", "live"])
def test_without_opencv_one_line_says_what_to_install(command: str) -> None:
    script = f"""
import sys
from mnist_core.cli import run
sys.modules["cv2"] = None
run("{command}", ["1.png"] if "{command}" == "predict" else ["--source", "1.png"])
"""
    done = spawn("-c", script)
    assert done.code == 2
    (line,) = done.stderr
    assert "opencv-python-headless" in line
