"""What the export command writes gives the network's probabilities in its own runtime, or isn't there."""

import os
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import export, models, runs
from mnist_core.commands.export import NAMES
from mnist_core.data.synthetic import draw
from mnist_core.errors import MnistCoreError, UsageError
from tests.forks import Forks, Training
from tests.invoke import call

NEEDS = {"savedmodel": [], "litert": ["ai_edge_litert"], "onnx": ["tf2onnx", "onnxruntime"]}
IMAGES, _ = draw(30, seed=3)


@pytest.fixture(scope="module")
def trained(forks: Forks, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run. Not to be changed."""
    folder = tmp_path_factory.mktemp("export")
    flags = "--json --model mlp --max-steps 20 --batch-size 32 --device cpu"
    argv = [*flags.split(), "--dataset", str(drawn), "--log-dir", str(folder / "logs")]
    return Path(Training(forks, argv, folder / "output").result()["run_dir"])


@pytest.fixture
def log_dir(trained, tmp_path) -> Path:
    """Holds a copy of the run."""
    shutil.copytree(trained, tmp_path / "logs" / trained.name)
    return tmp_path / "logs"


@pytest.fixture(params=NAMES)
def kind(request) -> str:
    for package in NEEDS[request.param]:
        pytest.importorskip(package, reason=f"{package} is not installed: -e '.[litert,onnx]'")
    return request.param


def opened(kind: str, path: Path) -> export.PredictFn:
    """What is at ``path``, in its own runtime."""
    if kind == "savedmodel":
        serve = tf.saved_model.load(path).signatures["serving_default"]
        return lambda images: serve(images=tf.constant(images))["probabilities"].numpy()
    return {"litert": export.open_litert, "onnx": export.open_onnx}[kind](path.read_bytes())


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def test_what_is_written_gives_the_networks_probabilities(kind, log_dir, tmp_path, capsys):
    path = tmp_path / "new folder" / "exported"
    done = call(capsys, "export", "--log-dir", log_dir, "--format", kind, "--out", path, "--json")
    assert done.code == 0
    answer = done.json()
    difference = answer.pop("max_abs_difference")
    assert answer == {"path": str(path), "format": kind, "size_bytes": size(path)}
    assert 0 <= difference < 1e-5
    assert [one.name for one in path.parent.iterdir()] == ["exported"]

    found = opened(kind, path)
    # The run may have computed in bfloat16; the file computes in float32.
    model = models.build(models.create("mlp"))
    model.set_weights(runs.load_model(log_dir=log_dir)[0].get_weights())
    for count in (1, 30, 7):
        scaled = IMAGES[:count, ..., None].astype(np.float32) / 255
        expected = tf.nn.softmax(model(scaled)).numpy()
        probabilities = found(IMAGES[:count])
        assert (probabilities.shape, probabilities.dtype) == ((count, 10), np.float32)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    # Those of a network that learned something, so that a mix-up would show.
    assert np.ptp(expected, axis=0).max() > 0.1


def test_a_second_export_replaces_the_first_and_nothing_else(kind, log_dir, tmp_path, capsys):
    for _ in range(2):
        done = call(capsys, "export", "--log-dir", log_dir, "--format", kind, "--json")
        assert done.code == 0
    (run,) = log_dir.iterdir()
    path = Path(done.json()["path"])
    assert path == run / NAMES[kind]
    assert opened(kind, path)(IMAGES).shape == (30, 10)
    assert not list(run.glob("*.partial"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").touch()
    done = call(capsys, "export", "--log-dir", log_dir, "--format", kind, "--out", mine)
    assert "--out" in done.failure(2)
    assert [one.name for one in mine.iterdir()] == ["letter.txt"]


def test_a_file_that_answers_otherwise_is_not_left(kind, tmp_path, monkeypatch):
    model = models.build(models.create("mlp"))
    path = tmp_path / "exported"
    export.export(model, kind, path)
    before = {file: file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}
    # Now even rounding is too much.
    monkeypatch.setattr(export, "TOLERANCE", -1)
    with pytest.raises(MnistCoreError, match="nothing was written"):
        export.export(model, kind, path)
    assert list(tmp_path.iterdir()) == [path]
    assert all(file.read_bytes() == content for file, content in before.items())


class Odd(keras.Model):
    """Has an operation that neither LiteRT nor ONNX knows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(10)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.math.digamma(1 + tf.abs(self.head(keras.ops.reshape(images, [-1, 784]))))


def test_what_a_format_can_not_express_is_named(kind, tmp_path):
    model = models.build(Odd())
    if kind == "savedmodel":
        assert export.export(model, kind, tmp_path / "exported") < 1e-5
        return
    with pytest.raises(MnistCoreError, match=r"can't express this network.*Digamma"):
        export.export(model, kind, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="kind must be one of savedmodel, litert, onnx, not 'tflite'"):
        export.export(models.build(Odd()), "tflite", str(tmp_path / "exported"))


def test_a_savedmodel_that_can_not_take_the_place_of_another_leaves_it(tmp_path, monkeypatch):
    path, model = tmp_path / "exported", models.build(Odd())
    export.export(model, "savedmodel", str(path))
    before = (path / "saved_model.pb").read_bytes()
    replace = os.replace

    def interrupted(source, target):
        if Path(source).name == "new":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.export(model, "savedmodel", path)
    assert [name.name for name in tmp_path.iterdir()] == ["exported"]
    assert (path / "saved_model.pb").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "module"),
    [("litert", "ai_edge_litert.interpreter"), ("onnx", "tf2onnx.convert"), ("onnx", "onnxruntime")],
)
def test_a_missing_extra_is_named_in_one_line(kind, module, log_dir, monkeypatch, capsys):
    if module == "onnxruntime":
        pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: -e '.[onnx]'")
    # What an import finds where the package is missing.
    monkeypatch.setitem(sys.modules, module, None)
    done = call(capsys, "export", "--log-dir", log_dir, "--format", kind)
    assert f"pip install -c constraints.txt -e '.[{kind}]'" in done.failure(2)
    (run,) = log_dir.iterdir()
    assert not (run / NAMES[kind]).exists()
