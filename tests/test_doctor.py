"""Tests of the doctor: its command line, its JSON, and what it does on a broken machine."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.invoke import Done, spawn

KEYS = ["tensorflow", "keras", "device", "gpus", "precision", "cpu_features", "problems"]
# The doctor, and then what it takes the same process to ask, on a line of its own.
EXAMINE = """
import json, runpy, sys
from pathlib import Path
sys.argv, other = ["runners/doctor.py", "--json"], Path(sys.argv[1])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    seen = {"code": end.code}

from mnist_core import device, diagnosis, environment
from mnist_core.commands import doctor
from mnist_core.errors import DeviceError

try:
    device.choose("gpu:99")
except DeviceError as error:
    seen["gpu:99"] = str(error)
seen["facts"] = environment.describe()
seen["again"] = [device.choose(name).name for name in ("auto", "cpu") * 3]
seen["why no gpu"] = diagnosis.why_no_gpu()[0].cause
diagnosis.ROOT = other
seen["why not with a driver"] = diagnosis.why_no_gpu()[0].cause
devices = {"absent": device.Device("/GPU:99", "gpu", "none such", "float32", 1, "")}
for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
    devices[precision] = device.choose("cpu", precision)
for name in devices:
    seen[name] = [problem.cause for problem in doctor.try_out(devices[name])]
print(json.dumps(seen))
"""


@pytest.fixture(scope="session")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The process of EXAMINE, on this machine; it is also asked about one with traces of a driver."""
    other = tmp_path_factory.mktemp("other")
    (other / "dev").mkdir()
    (other / "dev/nvidiactl").touch()
    done = spawn("-c", EXAMINE, other)
    assert done.code == 0, done.stderr
    return done


@pytest.fixture
def told(examined: Done) -> dict:
    """The document that the doctor prints."""
    return json.loads(examined.stdout.splitlines()[0])


@pytest.fixture
def seen(examined: Done) -> dict:
    """What is found after that."""
    return json.loads(examined.stdout.splitlines()[1])


@pytest.mark.parametrize("start", [["-m", "runners.doctor"], ["runners/doctor.py"]])
def test_help_tells_what_it_does_without_importing_tensorflow(start: list[str]) -> None:
    done = spawn("-X", "importtime", *start, "--help")
    assert done.code == 0
    assert "what TensorFlow sees on this machine" in done.stdout
    imported = "\n".join(done.stderr)
    assert "mnist_core.device" in imported
    assert "tensorflow" not in imported
    assert "keras" not in imported


def test_json_is_one_line_with_the_agreed_keys_and_nothing_else_is_said(
    examined: Done, told: dict, seen: dict
) -> None:
    assert (examined.stderr, seen["code"]) == ([], 0)
    assert len(examined.stdout.splitlines()) == 2
    assert list(told) == KEYS
    assert (told["tensorflow"], told["keras"]) == (version("tensorflow"), version("keras"))
    assert (told["cpu_features"], told["gpus"]) == (seen["facts"]["cpu_features"], seen["facts"]["gpus"])


def test_the_device_is_a_gpu_where_there_is_one(told: dict, seen: dict) -> None:
    if told["gpus"]:
        assert told["device"] == "/GPU:0"
    else:
        native = any(feature.endswith("_bf16") for feature in told["cpu_features"])
        assert told["device"] == "/CPU:0"
        assert told["precision"] == ("mixed_bfloat16" if native else "float32")
        assert (told["problems"] == []) == (seen["why no gpu"] == "this machine has no NVIDIA GPU")


def test_after_computing_a_device_can_be_chosen_again_and_again(told: dict, seen: dict) -> None:
    assert seen["again"] == [told["device"], "/CPU:0"] * 3


def test_asking_for_an_absent_gpu_is_one_line_with_cause_and_remedy(told: dict, seen: dict) -> None:
    if told["gpus"]:
        pytest.skip("this machine has a GPU")
    line = r"--device gpu:99: .+; .+; python -m runners\.doctor tells more"
    assert re.fullmatch(line, seen["gpu:99"])


def test_why_there_is_no_gpu_is_asked_of_the_real_tensorflow_too(seen: dict) -> None:
    assert seen["why no gpu"]
    assert seen["why not with a driver"] not in ("", "this machine has no NVIDIA GPU")


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_precision_is_tried_on_the_cpu_and_right(precision: str, seen: dict) -> None:
    assert seen[precision] == []


def test_a_device_that_does_not_compute_is_one_problem(seen: dict) -> None:
    (cause,) = seen["absent"]
    assert cause.startswith("/GPU:99 doesn't compute: ")


def test_a_tensorflow_that_cannot_be_imported_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("raise ImportError('libtorn.so: file\\ntoo short')")
    variables = {"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "jax"}
    told = spawn("-m", "runners.doctor", "--json", **variables).json()
    assert list(told) == KEYS
    assert (told["tensorflow"], told["device"], told["precision"], told["gpus"]) == (None, None, None, [])
    backend, broken = told["problems"]
    assert backend["cause"] == "KERAS_BACKEND is jax, but this training loop is TensorFlow's"
    assert broken == {
        "cause": "TensorFlow can't be imported: libtorn.so: file too short",
        "remedy": 'run: pip install "tensorflow>=2.21"',
    }

    done = spawn("-m", "runners.doctor", **variables)
    assert (done.code, done.stderr) == (0, [])
    lines = done.stdout.splitlines()
    assert lines[0] == "TensorFlow    can't be imported"
    assert f"{' ' * 14}  -> {broken['remedy']}" in lines
    assert "Device        none" in lines
