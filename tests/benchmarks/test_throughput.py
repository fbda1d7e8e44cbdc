"""The share of the peak rests on the arithmetic that a network really does."""

import math

import pytest
import tensorflow as tf

from benchmarks.contestants.ours import Tower
from benchmarks.throughput import LAYERS, flops
from mnist_core import models


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
