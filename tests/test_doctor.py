"""Tests of the doctor: its command line, its JSON, and what it does on a broken machine."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from mnist_core import device
from mnist_core.commands import doctor

ROOT = Path(__file__).parents[1]
KEYS = ["tensorflow", "keras", "device", "gpus", "precision", "cpu_features", "problems"]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS", "TF_CPP"))}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_tells_what_it_does_without_importing_tensorflow() -> None:
    done = run("-X", "importtime", "-m", "runners.doctor", "--help")
    assert done.returncode == 0
    assert "what TensorFlow sees on this machine" in done.stdout
    assert "mnist_core.device" in done.stderr
    assert "tensorflow" not in done.stderr
    assert "keras" not in done.stderr


def test_json_is_one_document_with_the_agreed_keys_and_nothing_else_is_said() -> None:
    # The file's own path works as well as `-m`.
    done = run("runners/doctor.py", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert list(told) == KEYS
    assert (told["tensorflow"], told["keras"]) == (version("tensorflow"), version("keras"))
    assert told["cpu_features"] == device.cpu_features()
    if told["gpus"]:
        assert told["device"] == "/GPU:0"
    else:
        native = any(feature.endswith("_bf16") for feature in told["cpu_features"])
        assert told["device"] == "/CPU:0"
        assert told["precision"] == ("mixed_bfloat16" if native else "float32")
    if not device.has_nvidia_hardware():
        assert (told["gpus"], told["problems"]) == ([], [])


def test_a_tensorflow_that_cannot_be_imported_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("raise ImportError('libtorn.so: file\\ntoo short')")
    variables = {"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "jax"}
    told = json.loads(run("-m", "runners.doctor", "--json", **variables).stdout)
    assert list(told) == KEYS
    assert (told["tensorflow"], told["device"], told["precision"], told["gpus"]) == (None, None, None, [])
    backend, broken = told["problems"]
    assert backend["cause"] == "KERAS_BACKEND is jax, but this training loop is TensorFlow's"
    assert broken == {
        "cause": "TensorFlow can't be imported: libtorn.so: file too short",
        "remedy": 'run: pip install "tensorflow>=2.21"',
    }

    done = run("-m", "runners.doctor", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "TensorFlow    can't be imported"
    assert f"{' ' * 14}  -> {broken['remedy']}" in lines
    assert "Device        none" in lines


def test_every_precision_is_tried_on_the_cpu_and_right() -> None:
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        assert doctor.try_out(device.choose("cpu", precision)) == []


def test_a_device_that_does_not_compute_is_one_problem() -> None:
    absent = device.Device("/GPU:99", "gpu", "none such", "float32", "")
    (problem,) = doctor.try_out(absent)
    assert problem.cause.startswith("/GPU:99 doesn't compute: ")
