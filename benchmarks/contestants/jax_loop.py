"""JAX: a jitted step, or a jitted scan over several steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contestants.pace import Pace, batches, problem


def logits_of(
    weights: list, images: jax.Array, dropout: float, key: jax.Array, dtype: jnp.dtype
) -> jax.Array:
    """The network of Keras's MNIST example."""
    features = images.astype(dtype)
    for kernel, bias in (weights[0:2], weights[2:4]):
        features = lax.conv_general_dilated(
            features, kernel.astype(dtype), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        features = jax.nn.relu(features + bias.astype(dtype))
        window = (1, 2, 2, 1)
        features = lax.reduce_window(features, -jnp.inf, lax.max, window, window, "VALID")
    features = features.reshape(len(features), -1)
    if dropout:
        kept = jax.random.bernoulli(key, 1 - dropout, features.shape)
        features = jnp.where(kept, features / (1 - dropout), 0).astype(dtype)
    return (features @ weights[4].astype(dtype) + weights[5].astype(dtype)).astype(jnp.float32)


def main() -> None:
    """Trains until nobody asks for more."""
    settings, arrays = problem()
    dropout, rate = settings["dropout"], settings["lr"]
    dtype = jnp.bfloat16 if settings["precision"] == "mixed_bfloat16" else jnp.float32
    images, labels = map(jnp.asarray, batches(arrays, settings["batch_size"]))

    def loss_of(weights: list, batch: jax.Array, truth: jax.Array, key: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(logits_of(weights, batch, dropout, key, dtype))
        return -jnp.take_along_axis(chances, truth[:, None], 1).mean()

    def step(state: tuple, i: jax.Array) -> tuple:
        weights, velocity, key = state
        key, one = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(weights, images[i], labels[i], one)
        velocity = [0.9 * v - rate * g for v, g in zip(velocity, gradients, strict=True)]
        weights = [w + 0.9 * v - rate * g for w, v, g in zip(weights, velocity, gradients, strict=True)]
        return (weights, velocity, key), loss

    length = settings["steps_per_call"]

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state: tuple, first: jax.Array) -> tuple:
        if length == 1:
            return step(state, first)
        # Unrolled: on a CPU, XLA's convolutions are slow inside a loop (jax #12868).
        return lax.scan(step, state, first + jnp.arange(length), unroll=True)

    weights = [jnp.asarray(arrays[f"weight_{i}"]) for i in range(6)]
    state = (weights, [jnp.zeros_like(weight) for weight in weights], jax.random.key(0))
    losses = []
    pace = Pace(settings, lambda: jax.block_until_ready(state))
    while True:
        for first in range(0, len(images) - length + 1, length):
            state, loss = run(state, first)
            losses.append(loss)
            pace(length, lambda: np.mean(jax.device_get(losses)))


if __name__ == "__main__":
    main()
