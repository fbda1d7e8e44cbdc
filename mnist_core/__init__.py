"""The reference low-level training loop for TensorFlow / Keras 3, shown on MNIST.

The names below are loaded when they are first used, so that importing the package doesn't import TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Config": "mnist_core.config",
    "Trainer": "mnist_core.loop.trainer",
    "Result": "mnist_core.loop.run",
    "Split": "mnist_core.data.split",
    "Dataset": "mnist_core.data.split",
    "Journal": "mnist_core.reporting.journal",
    "TensorBoard": "mnist_core.reporting.tensorboard",
    "TrainStep": "mnist_core.loop.step",
    "Batch": "mnist_core.loop.step",
    "current_random": "mnist_core.randomness",
    "Hook": "mnist_core.loop.hooks",
    "EarlyStopping": "mnist_core.loop.hooks",
    "TargetAccuracy": "mnist_core.loop.hooks",
    "Predictor": "mnist_core.vision.predictor",
    "load_model": "mnist_core.runs",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 (the names are those of _HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
