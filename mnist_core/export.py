"""A network on its own: one function from pixels to probabilities, and files that other runtimes open.

They map uint8 ``[n, 28, 28]``, bright ink on black, to float32 ``[n, 10]``, for any n.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mnist_core.data.datasets import load
from mnist_core.errors import MnistCoreError, UsageError, need
from mnist_core.files import atomic_write

IMAGES = tf.TensorSpec([None, 28, 28], tf.uint8, name="images")
# Rounding in another order moves a probability by a few 1e-7; a layer that was lost moves it by far more.
TOLERANCE = 1e-4

KINDS = ("savedmodel", "litert", "onnx")

Function = tf.types.experimental.ConcreteFunction
PredictFn = Callable[[np.ndarray], np.ndarray]


def export(model: keras.Model, kind: str, path: str | Path) -> float:
    """Writes a built ``model`` for another runtime, once that runtime has given the same probabilities.

    They are compared on the real digits that come with scikit-learn. What was at ``path`` is replaced if it
    is a file, or the folder of a SavedModel. The file computes in float32 whatever the model does.

    Args:
      kind: ``savedmodel`` (a folder), ``litert`` or ``onnx`` (files).

    Returns:
      The largest difference between a probability and the network's own in float32.

    Raises:
      UsageError: there is no such ``kind``, its extra is not installed, or ``path`` can't be written.
      MnistCoreError: ``kind`` can't express the network, or the probabilities differ. Nothing is written.
    """
    path = Path(path)
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, not '{kind}'")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent}: {error.strerror}; name another place with --out") from error
    if path.is_dir() and (kind != "savedmodel" or not (path / "saved_model.pb").is_file()):
        raise UsageError(f"{path} is a folder and not a SavedModel to replace; name another place with --out")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise UsageError(f"{path} is a device, which a file can't replace; name another place with --out")
    if kind == "savedmodel":
        return _write_savedmodel(model, path)
    convert, open_runtime = (to_litert, open_litert) if kind == "litert" else (to_onnx, open_onnx)
    content = convert(probabilities(model, float32=True))
    difference = _difference(model, open_runtime(content), kind)
    with atomic_write(path) as file:
        file.write(content)
    return difference


def probabilities(model: keras.Model, *, float32: bool = False) -> Function:
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


def to_litert(function: Function) -> bytes:
    """The flatbuffer of a `probabilities` function in float32.

    Raises:
      MnistCoreError: the network has an operation that LiteRT doesn't know.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()
    except ConverterError as error:
        cause = str(error).splitlines()[0].rsplit("error: ", 1)[-1]
        raise MnistCoreError(f"LiteRT can't express this network: {cause}") from error


def open_litert(content: bytes, threads: int = 1) -> PredictFn:
    """Runs a flatbuffer; the first call of another batch size than the last one's allocates anew.

    Raises:
      UsageError: LiteRT is not installed.
    """
    runtime = need("ai_edge_litert.interpreter", "litert")
    interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape: tuple[int, ...] = ()

    def run(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            interpreter.resize_tensor_input(inputs["index"], images.shape)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(outputs["index"])

    return run


def to_onnx(function: Function) -> bytes:
    """The ONNX model of a `probabilities` function in float32.

    An operation that ONNX doesn't know is left as it is, and refused when the model is opened.

    Raises:
      UsageError: tf2onnx is not installed.
    """
    convert = need("tf2onnx.convert", "onnx")
    # It logs each of its passes.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    model, _ = convert.from_function(
        tf.function(function, input_signature=[IMAGES]), input_signature=[IMAGES]
    )
    return model.SerializeToString()


def open_onnx(content: bytes, threads: int = 1) -> PredictFn:
    """Runs an ONNX model on the CPU.

    Raises:
      UsageError: ONNX Runtime is not installed. MnistCoreError: the model is not ONNX throughout.
    """
    runtime = need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its exceptions have no class in common.
        raise MnistCoreError(f"ONNX can't express this network: {error}") from error
    return lambda images: session.run(None, {IMAGES.name: images})[0]


def _write_savedmodel(model: keras.Model, path: Path) -> float:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".partial") as folder:
        fresh, old = Path(folder, "new"), Path(folder, "old")
        tf.saved_model.save(tf.Module(), str(fresh), signatures=probabilities(model, float32=True))
        serve = tf.saved_model.load(str(fresh)).signatures["serving_default"]
        difference = _difference(
            model, lambda images: serve(images=tf.constant(images))["probabilities"].numpy(), "savedmodel"
        )
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(fresh, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
    return difference


def _difference(model: keras.Model, predict: PredictFn, kind: str) -> float:
    images = load("digits").test.images
    with _computing_in_float32(model):
        scaled = tf.cast(images[..., np.newaxis], tf.float32) / 255.0
        expected = tf.nn.softmax(model(scaled, training=False)).numpy()
    counts = (1, 7, len(images))
    difference = max(float(np.abs(predict(images[:count]) - expected[:count]).max()) for count in counts)
    if not difference <= TOLERANCE:
        raise MnistCoreError(
            f"{kind}: probabilities differ by {difference:.2g} from the network's, {TOLERANCE:g} is allowed; "
            "nothing was written"
        )
    return difference


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
