"""One network behind several ways to ask it: answers each batch size with the latencies of calls."""

import json
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from mnist_core import models
from mnist_core.vision.predictor import Predictor

Engine = Callable[[np.ndarray], np.ndarray]


def ours(model: keras.Model) -> Engine:
    """The `Predictor` of this project."""
    return Predictor(model=model).probabilities


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


ENGINES = {"ours": ours, "model(x)": call, "model.predict": predict, "SavedModel": saved_model}


def scaled(images: np.ndarray) -> np.ndarray:
    """float32 ``[n, 28, 28, 1]`` in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / np.float32(255)


def main() -> None:
    """Answers until nobody asks for more."""
    settings = json.loads(sys.argv[1])
    keras.utils.set_random_seed(0)
    model = models.build(models.create(settings["model"]))
    engine = ENGINES[settings["engine"]](model)
    images = np.random.default_rng(0).integers(0, 256, (4096, 28, 28), np.uint8)
    print(json.dumps({"probabilities": engine(images[:4]).tolist()}), flush=True)
    for question in sys.stdin:
        size, seconds = json.loads(question)
        batch = images[:size]
        for _ in range(5):
            engine(batch)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 5:
            begin = time.perf_counter()
            engine(batch)
            times.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": np.quantile(times, [0.5, 0.95, 0.99]).tolist()}), flush=True)


if __name__ == "__main__":
    main()
