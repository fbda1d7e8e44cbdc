"""Keras's MNIST example, simple_mnist_convnet: Adam, batches of 128, a tenth held out, 15 epochs.

It is scored on the test images after each epoch, in large batches, and may stop there once it has reached the
target, which favours it; that it scores its validation images, too, is part of the recipe.
"""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from benchmarks.contestants.keras_fit import example
from benchmarks.contestants.race_to import images, serve, settings

EPOCHS = 15


def main() -> None:
    """Trains a seed at a time."""
    given = settings()
    train, train_labels, test, test_labels = images(given)
    train, test = (part.astype(np.float32)[..., np.newaxis] / 255 for part in (train, test))
    train_targets, test_targets = (
        keras.utils.to_categorical(part, 10) for part in (train_labels, test_labels)
    )

    def prepare(seed: int) -> Callable[[], Iterator[float]]:
        keras.utils.set_random_seed(seed)
        model = example(0.5, keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        if not given["cold"]:
            first = model.get_weights()
            model.fit(train[:1280], train_targets[:1280], batch_size=128, validation_split=0.1, verbose=0)
            model.evaluate(test, test_targets, batch_size=1000, verbose=0)
            model.set_weights(first)
            for variable in model.optimizer.variables:
                if variable is not model.optimizer.learning_rate:
                    variable.assign(np.zeros(variable.shape))

        def training() -> Iterator[float]:
            for _ in range(EPOCHS):
                model.fit(train, train_targets, batch_size=128, validation_split=0.1, verbose=0)
                _, accuracy = model.evaluate(test, test_targets, batch_size=1000, verbose=0)
                yield accuracy
                if accuracy >= given["target"]:
                    return

        return training

    serve(given, prepare)


if __name__ == "__main__":
    main()
