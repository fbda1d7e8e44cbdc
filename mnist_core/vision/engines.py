"""What computes a predictor's answers.

An engine takes uint8 images ``[n, 28, 28]``, any n, and gives float32 probabilities ``[n, 10]``.
"""

import threading
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from mnist_core import export
from mnist_core.environment import cores
from mnist_core.errors import UsageError

Engine = Callable[[np.ndarray], np.ndarray]
CORES = cores()
# For up to so many images, sharing the work among threads costs more than it saves.
FEW = 8


class TensorFlowEngine:
    """One traced function; many images go through it in pieces, side by side on the cores."""

    # Larger pieces leave the caches, and some cores idle at the end.
    LARGEST_PIECE = 256

    def __init__(self, model: keras.Model) -> None:
        self._whole = export.probabilities(model)
        signature = [export.IMAGES, tf.TensorSpec([], tf.int32)]
        self._pieces = tf.function(self._in_pieces, input_signature=signature).get_concrete_function()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pixels = tf.constant(images, tf.uint8)
        # No image goes through no piece, because oneDNN's convolution refuses an empty batch.
        if 0 < len(images) <= FEW:
            return _run(self._whole, pixels)
        size = min(max(-(-len(images) // CORES), FEW), self.LARGEST_PIECE)
        return _run(self._pieces, pixels, tf.constant(size))

    def _in_pieces(self, images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        count = (tf.shape(images)[0] + size - 1) // size
        found = tf.TensorArray(tf.float32, size=count, infer_shape=False, element_shape=[None, 10])
        for i in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=2 * CORES)
            # A stateful op here, such as tf.print, would keep the iterations from running side by side.
            piece = images[i * size : (i + 1) * size]
            found = found.write(i, self._whole(piece)["probabilities"])
        return found.concat()


class LiteRTEngine:
    """The network, converted to LiteRT in float32: the quickest for one image.

    Raises:
      UsageError: LiteRT is not installed.
    """

    PIECE = 16

    def __init__(self, model: keras.Model) -> None:
        content = export.to_litert(export.probabilities(model, float32=True))
        # One size each, because another size is allocated anew. Larger ones leave the caches.
        self._one = export.open_litert(content, min(2, CORES))
        self._few = export.open_litert(content, CORES)
        # An interpreter serves one thread at a time.
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images, np.uint8)
        if len(images) == 1:
            with self._lock:
                return self._one(images)
        found = np.empty((len(images), 10), np.float32)
        full = len(images) // self.PIECE * self.PIECE
        with self._lock:
            for i in range(0, full, self.PIECE):
                found[i : i + self.PIECE] = self._few(images[i : i + self.PIECE])
            for i in range(full, len(images)):
                found[i : i + 1] = self._one(images[i : i + 1])
        return found


ENGINES: dict[str, Callable[[keras.Model], Engine]] = {"tensorflow": TensorFlowEngine, "litert": LiteRTEngine}


def create(name: str, model: keras.Model) -> Engine:
    """Makes the engine ``name`` with the weights that ``model`` has now.

    Raises:
      UsageError: there is no such engine, or its extra is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine must be one of {', '.join(ENGINES)}, not '{name}'")
    return ENGINES[name](model)


def _run(function: tf.types.experimental.ConcreteFunction, *inputs: tf.Tensor) -> np.ndarray:
    # To call the function itself takes longer than the network does for one image.
    (found,) = tf.raw_ops.StatefulPartitionedCall(
        args=[*inputs, *function.captured_inputs], Tout=[tf.float32], f=function
    )
    return found.numpy()
