"""What every contestant shares: the problem, and a training loop that stops when enough was measured."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def problem() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The settings of this process, and the arrays of the problem: images, labels, order, first weights."""
    settings = json.loads(sys.argv[1])
    with np.load(settings["problem"]) as arrays:
        return settings, dict(arrays)


def batches(arrays: dict[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 images ``[steps, size, 28, 28, 1]`` in [0, 1] and int32 labels, in the order of the problem."""
    count = len(arrays["order"]) // size * size
    rows = arrays["order"][:count]
    images = arrays["images"][rows].astype(np.float32) / np.float32(255)
    return images.reshape(-1, size, 28, 28, 1), arrays["labels"][rows].astype(np.int32).reshape(-1, size)


def start(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Gives a Keras model the first weights of the problem, whose shapes are all different."""
    first = {arrays[f"weight_{i}"].shape: arrays[f"weight_{i}"] for i in range(6)}
    for variable in model.trainable_variables:
        variable.assign(first[tuple(variable.shape)])


class Pace:
    """Called after each step, or some of them: answers when the asked number has passed, and waits.

    The first answer comes after ``warm_up`` steps, with the mean loss of those steps.

    Args:
      synchronise: waits until the device has done all it was given.
      more: what to answer beside the pace.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        synchronise: Callable[[], Any] = lambda: None,
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._batch_size = settings["batch_size"]
        self._wanted = settings["warm_up"]
        self._synchronise = synchronise
        self._more = more
        self._done = 0
        self._begin = time.perf_counter()

    def __call__(self, steps: int = 1, mean_loss: Callable[[], float] | None = None) -> None:
        """Counts ``steps``; ``mean_loss`` gives the mean loss since training began."""
        self._done += steps
        if self._done < self._wanted:
            return
        self._synchronise()
        seconds = time.perf_counter() - self._begin
        answer = {"steps": self._done, "images_per_second": self._done * self._batch_size / seconds}
        answer.update(self._more())
        if mean_loss:
            answer["mean_loss"] = float(mean_loss())
        print(json.dumps(answer), flush=True)
        question = sys.stdin.readline()
        if not question:
            sys.exit(0)
        self._wanted, self._done = int(question), 0
        self._begin = time.perf_counter()
