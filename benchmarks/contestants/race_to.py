"""What the contestants of `time_to_accuracy` share: the images, and one training for each seed asked for."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Seconds since training began, and the accuracy on the test images at that moment.
Trace = list[tuple[float, float]]


def settings() -> dict[str, Any]:
    """The settings of this process."""
    return json.loads(sys.argv[1])


def images(given: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Training images uint8 ``[n, 28, 28]`` and labels, test images and labels."""
    with np.load(given["data"]) as arrays:
        return tuple(arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))


def serve(given: dict[str, Any], prepare: Callable[[int], Callable[[], Iterator[float]]]) -> None:
    """Trains whenever a seed is asked for, and tells how long it took.

    Args:
      prepare: makes all that a training with this seed needs, compiled and unused, and returns the training,
        which yields an accuracy whenever it has scored the test images. Only the training is timed; with
        ``cold``, it is done at once with ``cold_seed``, and whoever started the process times it.
    """
    if given["cold"]:
        print(json.dumps(_timed(prepare(given["cold_seed"]))), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    for seed in sys.stdin:
        print(json.dumps(_timed(prepare(int(seed)))), flush=True)


def _timed(training: Callable[[], Iterator[float]]) -> dict[str, Trace]:
    begin = time.perf_counter()
    return {"trace": [(time.perf_counter() - begin, accuracy) for accuracy in training()]}
