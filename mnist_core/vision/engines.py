"""What computes a predictor's answers.

An engine takes uint8 images ``[n, 28, 28]``, any n, and gives float32 probabilities ``[n, 10]``.
"""

import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import keras
import numpy as np
import tensorflow as tf

from mnist_core import export
from mnist_core.environment import cores
from mnist_core.errors import UsageError

Engine = Callable[[np.ndarray], np.ndarray]
CORES = cores()
# For up to so many images, sharing the work among threads costs more than it saves.
FEW = 16


class TensorFlowEngine:
    """One traced function; many images go through it in pieces, side by side on the cores."""

    # Larger pieces leave the caches, and a core idle at the end.
    LARGEST_PIECE = 128
    # A GPU shares the work among its own cores.
    GPU_PIECE = 4096

    def __init__(self, model: keras.Model) -> None:
        self._function = export.probabilities(model)
        self._on_gpu = bool(tf.config.list_logical_devices("GPU"))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if len(images) <= FEW:
            return self._piece(images)
        if self._on_gpu:
            return _side_by_side([self._piece], images, self.GPU_PIECE)
        size = min(max(-(-len(images) // CORES), FEW), self.LARGEST_PIECE)
        return _side_by_side([self._piece] * CORES, images, size)

    def _piece(self, images: np.ndarray) -> np.ndarray:
        # oneDNN's convolution refuses an empty batch.
        if not len(images):
            return np.empty((0, 10), np.float32)
        # To call the function itself takes longer than the network does for one image.
        (found,) = tf.raw_ops.StatefulPartitionedCall(
            args=[tf.constant(images), *self._function.captured_inputs], Tout=[tf.float32], f=self._function
        )
        return found.numpy()


class LiteRTEngine:
    """The network, converted to LiteRT in float32: the quickest for one image.

    Raises:
      UsageError: LiteRT is not installed.
    """

    PIECE = 8
    # Each takes some megabytes.
    MOST_INTERPRETERS = 8

    def __init__(self, model: keras.Model) -> None:
        content = export.to_litert(export.probabilities(model, float32=True))
        # One size each, because another size is allocated anew.
        self._one = export.open_litert(content, min(2, CORES))
        self._pieces = [export.open_litert(content, 1) for _ in range(min(CORES, self.MOST_INTERPRETERS))]
        # An interpreter serves one thread at a time.
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        full = len(images) // self.PIECE * self.PIECE
        with self._lock:
            if len(images) == 1:
                return self._one(images)
            found = _side_by_side(self._pieces, images[:full], self.PIECE)
            rest = [self._one(images[i : i + 1]) for i in range(full, len(images))]
        return np.concatenate([found, *rest])


class ONNXEngine:
    """The network, converted to ONNX, in float32: the quickest in float32 for some ten images or more.

    Raises:
      UsageError: ONNX Runtime or tf2onnx is not installed.
    """

    # More leave the caches, and what the layers give of very many would fill the memory.
    LARGEST_PIECE = 128

    def __init__(self, model: keras.Model) -> None:
        content = export.to_onnx(export.probabilities(model, float32=True))
        self._on_all_cores, self._on_one = (export.open_onnx(content, threads) for threads in (CORES, 1))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if 0 < len(images) <= self.LARGEST_PIECE:
            return self._on_all_cores(images)
        return _side_by_side([self._on_one] * CORES, images, self.LARGEST_PIECE)


ENGINES: dict[str, Callable[[keras.Model], Engine]] = {
    "tensorflow": TensorFlowEngine,
    "litert": LiteRTEngine,
    "onnx": ONNXEngine,
}


def create(name: str, model: keras.Model) -> Engine:
    """Makes the engine ``name`` with the weights that ``model`` has now.

    Raises:
      UsageError: there is no such engine, or its extra is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine must be one of {', '.join(ENGINES)}, not '{name}'")
    return ENGINES[name](model)


@functools.cache
def _helpers(process: int) -> ThreadPoolExecutor:
    """The threads that compute beside the one that asks; a fork has none of its parent's."""
    return ThreadPoolExecutor(max(1, CORES - 1), f"engine of {process}")


def _side_by_side(engines: list[Engine], images: np.ndarray, size: int) -> np.ndarray:
    """What ``engines`` give, each in a thread of its own, which takes ``size`` images after another."""
    found = np.empty((len(images), 10), np.float32)
    starts = range(0, len(images), size)
    pieces = iter(starts)

    def compute(engine: Engine) -> None:
        try:
            for i in pieces:
                found[i : i + size] = engine(images[i : i + size])
        finally:
            # After a failure, such as Ctrl-C, nothing is left for the others.
            deque(pieces, maxlen=0)

    helpers: list[Future[None]] = []
    try:
        # A thread that outlives the main one gets no help.
        with contextlib.suppress(RuntimeError):
            for engine in engines[1 : len(starts)]:
                helpers.append(_helpers(os.getpid()).submit(compute, engine))
        compute(engines[0])
    finally:
        # The others may still be busy for another caller.
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
    return found
