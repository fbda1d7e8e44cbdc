"""Every engine computes what the network does, for images of any number, and is ready at once."""

import importlib.util
import multiprocessing
import os
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_core import models
from mnist_core.cli import Parser
from mnist_core.commands import predict
from mnist_core.errors import UsageError
from mnist_core.loop.state import dtype_policy
from mnist_core.vision import engines
from tests.invoke import spawn

NEEDS = {"tensorflow": "tensorflow", "litert": "ai_edge_litert", "onnx": "onnxruntime"}
NAMES = [
    name
    if importlib.util.find_spec(NEEDS[name])
    else pytest.param(name, marks=pytest.mark.skip(reason=f"it is not installed: -e '.[{name}]'"))
    for name in engines.ENGINES
]
# None, one, few, a full piece of LiteRT's, one more, pieces of different lengths, many pieces.
COUNTS = (0, 1, 2, 8, 9, 17, 100, 1025)


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)


def digitnet(precision: str = "float32") -> keras.Model:
    """Untrained, but its normalisation and its answers are no longer those of blank weights."""
    keras.utils.set_random_seed(0)
    with dtype_policy(precision):
        model = models.build(models.create("digitnet"))
    model(tf.constant(random_images(64)[..., None] / 255, tf.float32), training=True)
    for variable in model.trainable_variables:
        variable.assign(variable + tf.random.normal(variable.shape, stddev=0.05, seed=1))
    return model


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return digitnet()


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest, network: keras.Model) -> engines.Engine:
    return engines.create(request.param, network)


def expected(model: keras.Model, images: np.ndarray) -> np.ndarray:
    logits = model(tf.constant(images[..., None] / 255, tf.float32), training=False)
    return tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()


def test_probabilities_are_the_networks_for_any_number_of_images(network, engine) -> None:
    for count in COUNTS:
        images = random_images(count)
        found = engine(images)
        assert (found.shape, found.dtype) == ((count, 10), np.float32)
        if count:
            np.testing.assert_allclose(found, expected(network, images), atol=2e-6)
    # The answers differ from image to image, so that a mix-up would show.
    assert np.ptp(found, axis=0).max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_traced_when_the_engine_is_made_and_never_again(name: str) -> None:
    traces = []

    class Counted(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = keras.layers.Dense(10)

        def call(self, images: tf.Tensor) -> tf.Tensor:
            traces.append(images.shape)
            return self.head(keras.ops.reshape(images, [-1, 784]))

    model = models.build(Counted())
    traces.clear()
    engine = engines.create(name, model)
    assert len(traces) == 1
    for count in COUNTS:
        engine(random_images(count))
    assert len(traces) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_keeps_the_weights_it_was_made_with(name: str) -> None:
    model = models.build(models.create("mlp"))
    engine = engines.create(name, model)
    images = random_images(3)
    before = engine(images)
    model.head.bias.assign(model.head.bias + np.arange(10, dtype=np.float32))
    np.testing.assert_array_equal(engine(images), before)
    assert np.abs(engines.create(name, model)(images) - before).max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_half_precision_is_served_and_stays_as_it_is(name: str, network) -> None:
    half = digitnet("mixed_bfloat16")
    half.set_weights(network.get_weights())
    images = random_images(20)
    before = expected(half, images)
    found = engines.create(name, half)(images)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    # TensorFlow computes as the network does, the others in float32 whatever that does.
    reference, near = (before, 3e-2) if name == "tensorflow" else (expected(network, images), 2e-6)
    np.testing.assert_allclose(found, reference, atol=near)
    np.testing.assert_array_equal(expected(half, images), before)


def test_an_engine_answers_several_threads_at_once(engine) -> None:
    batches = [random_images(count) for count in (1, 5, 40, 1)]
    wanted = [engine(batch) for batch in batches]
    wrong = []

    def ask(number: int) -> None:
        for _ in range(20):
            if np.abs(engine(batches[number]) - wanted[number]).max() > 1e-6:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(engines.CORES == 1, reason="one thread computes all")
@pytest.mark.parametrize("who", ["the caller", "a helper"])
def test_a_failure_in_any_thread_ends_the_work_of_all_and_comes_up(who: str) -> None:
    done = []

    def answer(images: np.ndarray) -> np.ndarray:
        time.sleep(0.001)
        if (threading.current_thread() is threading.main_thread()) == (who == "the caller"):
            raise KeyboardInterrupt
        done.append(len(images))
        return np.zeros((len(images), 10), np.float32)

    with pytest.raises(KeyboardInterrupt):
        engines._side_by_side([answer, answer], random_images(5000), 1)
    count = len(done)
    assert count < 4000
    time.sleep(0.02)
    assert len(done) == count


@pytest.mark.skipif(engines.CORES == 1, reason="one thread computes all")
def test_a_caller_does_not_wait_for_the_work_of_another() -> None:
    goes_on = threading.Event()

    def slow(images: np.ndarray) -> np.ndarray:
        goes_on.wait(60)
        return np.zeros((len(images), 10), np.float32)

    def quick(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 10), np.float32)

    ask = engines._side_by_side
    callers = [
        threading.Thread(target=ask, args=([slow] * engines.CORES, random_images(100), 1))
        for _ in range(engines.CORES)
    ]
    for caller in callers:
        caller.start()
    assert ask([quick, quick], random_images(10), 1).sum() == 100
    assert any(caller.is_alive() for caller in callers)
    goes_on.set()
    for caller in callers:
        caller.join()


@pytest.mark.parametrize("name", NAMES)
def test_engines_answer_in_threads_that_outlive_the_program(name: str) -> None:
    script = f"""
import threading
import numpy as np
from mnist_core import models
from mnist_core.vision import engines
engine = engines.create({name!r}, models.build(models.create("mlp")))
def ask():
    threading.main_thread().join()
    print(engine(np.zeros((64, 28, 28), np.uint8)).shape)
threading.Thread(target=ask).start()
"""
    done = spawn("-c", script)
    assert (done.code, done.stdout.strip()) == (0, "(64, 10)")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_computes_with_threads_of_its_own() -> None:
    def answer(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 10), np.float32)

    def work() -> None:
        assert engines._side_by_side([answer] * 3, random_images(40), 8).sum() == 400

    work()
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_an_engine_that_is_not_there_is_named(network, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="tensorflow, litert, onnx, not 'abacus'"):
        engines.create("abacus", network)
    # What an import finds where the package is missing.
    for name, package in (("litert", "ai_edge_litert.interpreter"), ("onnx", "tf2onnx.convert")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=rf"pip install .*\[{name}\]"):
            engines.create(name, network)


def test_the_flag_offers_every_engine() -> None:
    parser = Parser()
    predict.add_arguments(parser)
    (flag,) = (action for action in parser._actions if "--engine" in action.option_strings)
    assert tuple(flag.choices) == tuple(engines.ENGINES)
