"""Everything that training changes: the model, and the variables that go with it."""

import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_core import layers, models
from mnist_core.config import Config
from mnist_core.errors import InputError, UsageError
from mnist_core.loop import optimizers
from mnist_core.loop.ema import WeightAverage
from mnist_core.loop.loss_scale import LossScale

ModelSource = keras.Model | Callable[[], keras.Model]


class TrainState:
    """Model, optimizer, and where the run asks for them averaged weights and a loss scale.

    Made under the strategy in force. A model given as a function is made with the run's precision; one given
    ready keeps its own.

    Raises:
      UsageError: a ready model contradicts an explicit precision, the model has nothing to train, or
        several replicas can't train it.
    """

    def __init__(
        self, config: Config, precision: str, model: ModelSource, optimizer: optimizers.Optimizer
    ) -> None:
        self.model, self.precision = _make_model(model, precision, explicit=config.precision != "auto")
        self.optimizer = optimizer
        self.optimizer.build(self.model.trainable_variables)
        self.loss_scale = LossScale() if self.precision == "mixed_float16" else None
        self.average = WeightAverage(self.model, config.ema) if config.ema else None
        self.step_variables: Sequence[tf.Variable] = ()
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            self._check_replicas(config)

    def variables(self) -> dict[str, list[tf.Variable]]:
        """All variables, by the group that a checkpoint keeps them in."""
        groups = {
            "model": [variable.value for variable in self.model.variables],
            "optimizer": self.optimizer.variables,
            "average": self.average.variables if self.average else [],
            "loss_scale": self.loss_scale.variables if self.loss_scale else [],
            "step": list(self.step_variables),
        }
        return {name: variables for name, variables in groups.items() if variables}

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """The values of `variables`."""
        return {name: [variable.numpy() for variable in group] for name, group in self.variables().items()}

    def assign(self, path: Path, groups: dict[str, list[np.ndarray]]) -> None:
        """Takes the values of a checkpoint read from ``path``.

        Raises:
          InputError: they don't fit; then nothing has changed.
        """
        variables = self.variables()
        if set(groups) != set(variables):
            raise InputError(
                f"{path}: holds {', '.join(groups)}, not {', '.join(variables)}; it belongs to another run"
            )
        for name, wanted in variables.items():
            check_fit(path, name, groups[name], wanted)
        for name, wanted in variables.items():
            for variable, value in zip(wanted, groups[name], strict=True):
                variable.assign(value)

    def model_config(self) -> dict[str, Any]:
        """What a checkpoint keeps to make the model again.

        Raises:
          UsageError: the model can't be made again.
        """
        check_arguments(type(self.model))
        try:
            config = keras.saving.serialize_keras_object(self.model)
            json.dumps(config)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise UsageError(
                f"{type(self.model).__name__} can't be saved: give it a get_config() that returns its "
                "arguments as JSON values, or train without a run directory"
            ) from error
        return config

    def scored_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights to be scored: the averaged ones where there are some."""
        return self.average.applied() if self.average else contextlib.nullcontext()

    def _check_replicas(self, config: Config) -> None:
        if isinstance(self.optimizer, optimizers.KerasOptimizer):
            # Replicas can't meet inside a branch or a loop of the graph.
            if self.loss_scale:
                raise UsageError(
                    "--precision mixed_float16 on several replicas needs --optimizer sgd; or use "
                    "mixed_bfloat16"
                )
            if self.optimizer.clips:
                # It would clip each replica's share of a gradient, and sum them afterwards.
                raise UsageError(
                    "an optimizer of Keras can't clip on several replicas; set --clip-norm in its place"
                )
        normalised = any(isinstance(layer, layers.BatchNorm) for layer in self.model._flatten_layers())
        if normalised and config.gradient_accumulation > 1:
            raise UsageError(
                "--gradient-accumulation on several replicas needs a network without BatchNorm, such as "
                "keras_convnet"
            )


def check_arguments(kind: type[keras.Model]) -> None:
    """Checks that Keras would not lose what a model of this class was made with.

    Of a class without a get_config() it keeps no arguments, and makes it again with their defaults.

    Raises:
      UsageError: it would.
    """
    if kind.get_config is not keras.Model.get_config:
        return
    _, *given = inspect.signature(kind.__init__).parameters.values()
    if lost := [one.name for one in given if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]:
        raise UsageError(
            f"{kind.__name__} can't be saved with its {', '.join(lost)}: give it a get_config() that returns "
            "its arguments, or train without a run directory"
        )


def weights_sha256(model: keras.Model) -> str:
    """Hash of the trainable weights in creation order, as little-endian float32."""
    digest = hashlib.sha256()
    for variable in model.trainable_variables:
        digest.update(variable.value.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def check_fit(path: Path, name: str, stored: list[np.ndarray], wanted: list[tf.Variable]) -> None:
    """Checks that the arrays of a checkpoint fit the variables that they are meant for.

    Raises:
      InputError: their number, a shape or a dtype differs.
    """
    have = [(tuple(array.shape), str(array.dtype)) for array in stored]
    want = [(tuple(variable.shape), variable.dtype.name) for variable in wanted]
    if have != want:
        raise InputError(
            f"{path}: its {len(have)} {name} variables {[shape for shape, _ in have]} don't fit the "
            f"{len(want)} of the run; it belongs to another network or optimizer"
        )


@contextlib.contextmanager
def dtype_policy(precision: str) -> Any:
    """Layers made inside have the Keras policy ``precision``."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _make_model(model: ModelSource, precision: str, *, explicit: bool) -> tuple[keras.Model, str]:
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise UsageError(f"model= takes a network or what makes one, not {model!r}; name it in Config")
        with dtype_policy(precision):
            return models.build(model()), precision
    own = model.dtype_policy.name
    if explicit and own != precision:
        raise UsageError(
            f"--precision is {precision}, but {model.name} was made as {own}; pass its class, not an instance"
        )
    return models.build(model), own
