"""Says what TensorFlow sees on this machine, what training would use, and what is wrong.

It computes a little on the device to prove that it works. It exits with 0, also when it finds problems.
"""

import argparse
import contextlib
import dataclasses
import sys
from typing import Any

from mnist_core.cli import Answer, import_tensorflow
from mnist_core.device import Device, Problem, choose, cpu_features, describe, diagnose, version
from mnist_core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def main(args: argparse.Namespace) -> Answer:
    """Examines the machine. What can't be known without a working TensorFlow is None."""
    with contextlib.suppress(Exception):  # diagnose() tries again, and tells why.
        import_tensorflow()
    problems = diagnose()
    facts: dict[str, Any] = {"tensorflow": None, "gpus": []}
    device = None
    if "tensorflow" in sys.modules:
        facts = describe()
        with contextlib.suppress(UsageError):  # A wrong Keras backend, which diagnose() has told, too.
            device = choose()
            problems += try_out(device)
    data = {
        "tensorflow": facts["tensorflow"],
        "keras": version("keras"),
        "device": device and device.name,
        "gpus": facts["gpus"],
        "precision": device and device.precision,
        "cpu_features": cpu_features(),
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }
    return Answer(data, _text(data, facts, device))


def try_out(device: Device) -> list[Problem]:
    """Computes a convolution and a matrix product on a device, in its precision, whose results are known."""
    import tensorflow as tf

    dtype = device.precision.removeprefix("mixed_")
    try:
        with tf.device(device.name):
            # Powers of two, which are exact in every precision: 2 * 2 * 4 inputs, then 8 channels.
            convolved = tf.nn.conv2d(tf.ones([2, 9, 9, 4], dtype), tf.ones([2, 2, 4, 8], dtype), 1, "VALID")
            product = tf.matmul(tf.reshape(convolved, [-1, 8]), tf.ones([8, 16], dtype))
            right = bool(tf.reduce_all(product == 2 * 2 * 4 * 8))
    except (RuntimeError, tf.errors.OpError) as error:
        cause = " ".join(f"{device.name} doesn't compute: {error}".split())
        return [Problem(cause, "see with nvidia-smi whether another program fills it, or use --device cpu")]
    if not product.device.endswith(device.name[1:]):
        # TensorFlow goes elsewhere without a word where a device can't do an op.
        return [Problem(f"{device.name} doesn't compute: {product.device} did instead", "use --device cpu")]
    return [] if right else [Problem(f"{device.name} computes wrongly in {dtype}", "use --precision float32")]


def _text(data: dict[str, Any], facts: dict[str, Any], device: Device | None) -> str:
    gpus = [
        f"{gpu['name']}, {gpu['memory_gib']} GiB, compute capability {gpu['compute_capability']}"
        for gpu in data["gpus"]
    ]
    rows = {
        "TensorFlow": data["tensorflow"] or "can't be imported",
        "built for": f"CUDA {facts.get('cuda_version')}, cuDNN {facts.get('cudnn_version')}",
        "Keras": data["keras"] or "not installed",
        "GPUs": "\n".join(gpus) or "none",
        "GPU driver": facts.get("driver") or "none",
        "CPU features": " ".join(data["cpu_features"]) or "unknown",
        "Device": f"{device.name}, {device.description}" if device else "none",
        "Precision": data["precision"] or "none",
        "Why": device.note if device else "see the problems",
        "Problems": "\n".join(f"{p['cause']}\n  -> {p['remedy']}" for p in data["problems"]) or "none",
    }
    width = max(map(len, rows)) + 2
    return "\n".join(
        f"{title:{width}}{text.replace(chr(10), chr(10) + ' ' * width)}" for title, text in rows.items()
    )
