"""Two replicas train what one trains, with the batch of the whole step kept.

TensorFlow divides a CPU into devices only before it starts: run as a script, this file does it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core.errors import UsageError
from tests.loop.small import AUGMENTED, Linear, Noisy, make, non_negative, weights

STEPS, TOLERANCE = 50, 1e-5
COMMON = {"max_steps": STEPS, "steps_per_block": 25, "lr": 2e-3}
# A low rate, and no thickness, which makes neighbours equal: a ReLU or a maximum that rounding turns over
# would grow to more than the tolerance.
DEEP = {"lr": 1e-4, **AUGMENTED, "thickness": 0.0}
EXTRAS = {"weight_decay": 5e-4, "ema": 0.99, "clip_norm": 1.0, "label_smoothing": 0.1}
# 300 images leave 44 for the last batch of an epoch of 64, and 45 for one of 51: an odd one.
ODD = {"batch_size": 51}


def keras_sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(2e-3, momentum=0.9, nesterov=True)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "digitnet": lambda: {"model": "digitnet", **DEEP, **EXTRAS},
    "keras_convnet": lambda: {"model": "keras_convnet", **DEEP, **ODD},
    "a Keras optimizer": lambda: {"keras_optimizer": keras_sgd()},
    "a constraint": lambda: {"net": non_negative},
    "gradient accumulation": lambda: {"feed": "streaming", "batch_size": 17, "gradient_accumulation": 3},
    "mixed_float16": lambda: {"net": Linear, "precision": "mixed_float16", **EXTRAS},
}
REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "fewer images than devices": lambda: {"batch_size": 1},
    "a Keras optimizer that clips": lambda: {
        "keras_optimizer": keras.optimizers.SGD(0.1, global_clipnorm=1.0)
    },
    "a Keras optimizer in float16": lambda: {"precision": "mixed_float16", "optimizer": "adam"},
    "batch normalisation by micro-batches": lambda: {"net": Noisy, "gradient_accumulation": 2},
    "XLA": lambda: {"jit": "on"},
}


def compare(case: Callable[[], dict[str, Any]], strategy: tf.distribute.Strategy) -> dict[str, float]:
    """How far two replicas end from one, and how far one came."""
    alone = make(**{**COMMON, **case()})
    before = weights(alone)
    alone.fit()
    with strategy.scope():
        both = make(**{**COMMON, **case()})
        assert (weights(both) == before).all()
    # As in Keras, only what makes variables needs the scope.
    both.fit()
    return {
        "steps": both.run.step,
        "difference": float(np.abs(weights(alone) - weights(both)).max()),
        "moments": float(np.abs(moments(alone) - moments(both)).max()),
        "moved": float(np.abs(weights(alone) - before).max()),
        "loss": abs(alone.evaluate(alone.data.test).loss - both.evaluate(both.data.test).loss),
    }


def moments(trainer: Any) -> np.ndarray:
    """The moving moments of batch normalisation, as one vector."""
    variables = trainer.state.model.non_trainable_variables
    return np.concatenate([np.zeros(1), *(variable.value.numpy().ravel() for variable in variables)])


def refusal(case: Callable[[], dict[str, Any]], strategy: tf.distribute.Strategy) -> str:
    with strategy.scope():
        try:
            make(**case())
        except UsageError as error:
            return str(error)
    return ""


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
    assert strategy.num_replicas_in_sync == 2
    results: dict[str, Any] = {name: compare(case, strategy) for name, case in CASES.items()}
    results |= {name: refusal(case, strategy) for name, case in REFUSED.items()}
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.loop.test_distribution"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_two_replicas_equal_one_after_fifty_steps(case: str, results: dict[str, Any]) -> None:
    result = results[case]
    assert result["steps"] == STEPS
    assert result["moved"] > 100 * TOLERANCE
    # float16 rounds the sums of each replica by themselves.
    allowed = 1e-3 if case == "mixed_float16" else TOLERANCE
    assert result["difference"] <= allowed
    assert result["moments"] <= allowed
    assert result["loss"] <= allowed


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            "a Keras optimizer that clips",
            "an optimizer of Keras can't clip on several replicas; set --clip-norm",
        ),
        ("fewer images than devices", "--batch-size 1 .* is too small to be shared by 2 replicas"),
        (
            "a Keras optimizer in float16",
            "--precision mixed_float16 on several replicas needs --optimizer sgd",
        ),
        ("batch normalisation by micro-batches", "--gradient-accumulation on several replicas needs"),
        ("XLA", "--jit on works with one replica"),
    ],
)
def test_what_several_replicas_can_not_do_is_refused_before_it_starts(
    case: str, reason: str, results: dict[str, Any]
) -> None:
    assert re.match(reason, results[case])
    assert "\n" not in results[case]


if __name__ == "__main__":
    main()
