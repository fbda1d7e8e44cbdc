"""The share of the peak rests on the arithmetic that a network really does."""

import math
from typing import Any

import pytest
import tensorflow as tf

from benchmarks.contestants.ours import STEPS, Tower
from benchmarks.throughput import LAYERS, base, devices, flops, overtaken_at, title
from mnist_core import environment, models
from mnist_core.errors import DeviceError
from tests.loop.small import Linear, make


@pytest.mark.parametrize("network", LAYERS)
def test_flops_are_those_of_the_graph(network: str) -> None:
    model = Tower() if network == "tower" else models.create(network)
    graph = tf.function(model).get_concrete_function(tf.TensorSpec([1, 28, 28, 1])).graph
    forward = []
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "MatMul"):
            weights, places = operation.inputs[1].shape, operation.outputs[0].shape[:-1]
            forward.append(2 * math.prod(weights) * math.prod(places))
    # Backward, each layer has a gradient of its weights, and all but the first one of what they are given.
    assert flops(network) == sum(3 * one for one in forward) - forward[0]


@pytest.mark.parametrize("only", STEPS)
def test_a_part_of_a_step_is_trained_on_as_a_whole_one(only: str) -> None:
    trainer = make(net=Linear, step=STEPS[only], max_steps=3)
    assert trainer.fit().run.step == 3


def test_the_gpu_overtakes_where_it_is_faster_from_there_on() -> None:
    def rows(kind: str, speeds: dict[int, float]) -> dict[str, Any]:
        made = [
            ({**base(kind, size), "device": kind, "precision": "float32"}, speed)
            for size, speed in speeds.items()
        ]
        return {
            title(one): {**one, "only": None, "images_per_second": {"median": speed}} for one, speed in made
        }

    cpu = rows("cpu", {8: 10, 32: 20, 128: 30, 512: 40})
    assert overtaken_at(cpu | rows("gpu", {8: 11, 32: 19, 128: 31, 512: 400}), "float32") == 128
    assert overtaken_at(cpu | rows("gpu", {8: 9, 32: 19, 128: 29, 512: 39}), "float32") is None
    assert overtaken_at(cpu, "float32") is None


def test_without_a_gpu_the_cpu_is_measured_and_the_lack_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    if environment.describe()["gpus"]:
        assert devices("all") == ["cpu", "gpu"]
        return
    assert devices("all") == ["cpu"]
    assert "TensorFlow sees no GPU" in capsys.readouterr().err
    with pytest.raises(DeviceError, match="--device gpu: TensorFlow sees no GPU"):
        devices("gpu")
