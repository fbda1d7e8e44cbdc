"""A network on its own: one function from pixels to probabilities, and files that other runtimes open.

All of them map uint8 ``[n, 28, 28]``, bright ink on black, to float32 ``[n, 10]`` for any n.
"""

import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mnist_core.errors import MnistCoreError, UsageError

IMAGES = tf.TensorSpec([None, 28, 28], tf.uint8, name="images")
# Rounding in another order moves a probability by a few 1e-7; a layer that was lost moves it by far more.
TOLERANCE = 1e-4


def probabilities(model: keras.Model, *, float32: bool = False) -> tf.types.experimental.ConcreteFunction:
    """Traces ``model`` at inference, with its weights of this moment as constants.

    Constants cost no look-up in a call and let TensorFlow fold what follows from them alone.

    Args:
      model: from float32 ``[n, 28, 28, 1]`` in [0, 1] to logits ``[n, 10]``, built.
      float32: compute in float32, whatever the precision of the model is.
    """
    weights = [(variable, variable.numpy()) for variable in model.variables]

    def pixels_to_probabilities(images: tf.Tensor) -> dict[str, tf.Tensor]:
        scaled = tf.cast(images[..., tf.newaxis], tf.float32) / 255.0
        with keras.StatelessScope(weights):
            logits = model(scaled, training=False)
        return {"probabilities": tf.nn.softmax(tf.cast(logits, tf.float32))}

    with _computing_in_float32(model) if float32 else contextlib.nullcontext():
        return tf.function(pixels_to_probabilities, input_signature=[IMAGES]).get_concrete_function()


def to_litert(function: tf.types.experimental.ConcreteFunction) -> bytes:
    """The flatbuffer of a `probabilities` function in float32, for the runtime LiteRT.

    Raises:
      MnistCoreError: the network has an operation that LiteRT doesn't know.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    except ConverterError as error:
        raise MnistCoreError(f"LiteRT can't run this network: {str(error).splitlines()[0]}") from error


def to_onnx(function: tf.types.experimental.ConcreteFunction) -> bytes:
    """The ONNX model of a `probabilities` function in float32.

    Raises:
      UsageError: tf2onnx or onnx is not installed.
    """
    convert = need("tf2onnx.convert", "onnx")
    # It warns of what it does on purpose.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = convert.from_function(
        tf.function(function, input_signature=[IMAGES]), input_signature=[IMAGES]
    )
    return model.SerializeToString()


def to_savedmodel(function: tf.types.experimental.ConcreteFunction, folder: Path) -> None:
    """Writes a SavedModel whose signature ``serving_default`` is ``function``."""
    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures=function)


def need(module: str, extra: str) -> Any:
    """Imports a module that comes with the extra ``extra``.

    Raises:
      UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{extra} needs a package that is not installed ({error}); "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        ) from error


@contextlib.contextmanager
def _computing_in_float32(model: keras.Model) -> Iterator[None]:
    # A copy of the model would need its class to be registered.
    layers = list(model._flatten_layers())
    policies = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer.dtype_policy = policy
