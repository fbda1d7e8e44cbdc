"""One network behind several ways to ask it: answers each batch size with the latencies of calls."""

import json
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from mnist_core import export, models
from mnist_core.device import choose, limit_threads
from mnist_core.vision.engines import CORES
from mnist_core.vision.predictor import Predictor

Engine = Callable[[np.ndarray], np.ndarray]


def ours(model: keras.Model) -> Engine:
    """The `Predictor` of this project."""
    return Predictor(model=model).probabilities


def ours_with(engine: str) -> Callable[[keras.Model], Engine]:
    """The `Predictor` of this project with another engine than TensorFlow."""
    return lambda model: Predictor(model=model, engine=engine).probabilities


def call(model: keras.Model) -> Engine:
    """``model(x)``, eager."""
    return lambda images: tf.nn.softmax(model(scaled(images), training=False)).numpy()


def predict(model: keras.Model) -> Engine:
    """``model.predict``."""
    return lambda images: keras.ops.convert_to_numpy(
        tf.nn.softmax(model.predict(scaled(images), batch_size=len(images), verbose=0))
    )


def saved_model(model: keras.Model) -> Engine:
    """``model.export`` to a SavedModel, loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False, input_signature=[tf.TensorSpec([None, 28, 28, 1])])
        loaded = tf.saved_model.load(folder)
    return lambda images: tf.nn.softmax(loaded.serve(scaled(images))).numpy()


def litert(model: keras.Model, threads: int) -> Engine:
    """A bare LiteRT interpreter, which is resized when the number of images changes."""
    return export.open_litert(export.to_litert(export.probabilities(model, float32=True)), threads)


def onnx(model: keras.Model, threads: int) -> Engine:
    """ONNX Runtime on the CPU."""
    return export.open_onnx(export.to_onnx(export.probabilities(model, float32=True)), threads)


def scaled(images: np.ndarray) -> np.ndarray:
    """float32 ``[n, 28, 28, 1]`` in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / np.float32(255)


ENGINES: dict[str, Callable[[keras.Model], Engine]] = {
    "ours": ours,
    "ours as it is": ours,
    "ours, LiteRT": ours_with("litert"),
    "ours, ONNX": ours_with("onnx"),
    "model(x)": call,
    "model.predict": predict,
    "SavedModel": saved_model,
    "SavedModel, one thread": saved_model,
    "LiteRT, one thread": lambda model: litert(model, 1),
    "LiteRT, all cores": lambda model: litert(model, CORES),
    "ONNX Runtime, one thread": lambda model: onnx(model, 1),
    "ONNX Runtime, all cores": lambda model: onnx(model, CORES),
}


def main() -> None:
    """Answers until nobody asks for more."""
    settings = json.loads(sys.argv[1])
    if settings["engine"].startswith("ours") or settings["engine"] == "SavedModel, one thread":
        limit_threads(1)
    if settings["engine"] == "ours as it is":
        keras.config.set_dtype_policy(choose(settings["device"], parts=CORES).precision)
    keras.utils.set_random_seed(0)
    model = models.build(models.create(settings["model"]))
    engine = ENGINES[settings["engine"]](model)
    images = np.random.default_rng(0).integers(0, 256, (4096, 28, 28), np.uint8)
    print(json.dumps({"probabilities": engine(images[:64]).tolist()}), flush=True)
    for question in sys.stdin:
        size, seconds = json.loads(question)
        batch = images[:size]
        for _ in range(2):
            engine(batch)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            engine(batch)
            times.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": np.quantile(times, [0.5, 0.95, 0.99]).tolist()}), flush=True)


if __name__ == "__main__":
    main()
