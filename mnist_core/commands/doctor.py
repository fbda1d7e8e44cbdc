"""Says what TensorFlow sees on this machine, what training would use, and what is wrong.

It computes a little on the device to prove that it works. It exits with 0, also when it finds problems.
"""

import argparse
import contextlib
import dataclasses
from typing import Any

from mnist_core.cli import Answer
from mnist_core.device import Device, choose
from mnist_core.diagnosis import Problem, diagnose
from mnist_core.environment import describe
from mnist_core.errors import UsageError
from mnist_core.imports import import_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def main(args: argparse.Namespace) -> Answer:
    """Examines the machine. What can't be known without a working TensorFlow is None."""
    with contextlib.suppress(Exception):  # diagnose() tries again, and tells why.
        import_tensorflow()
    problems = diagnose()
    facts = describe()
    device = None
    if facts["tensorflow"]:
        with contextlib.suppress(UsageError):  # A wrong Keras backend, which diagnose() has told, too.
            device = choose()
            problems += try_out(device)
    data = {
        "tensorflow": facts["tensorflow"],
        "keras": facts["keras"],
        "device": device and device.name,
        "gpus": facts["gpus"],
        "precision": device and device.precision,
        "cpu_features": facts["cpu_features"],
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }
    return Answer(data, _text(facts, device, problems))


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
        return [Problem(cause, "use --device cpu, or look in nvidia-smi for a program that fills the GPU")]
    if not product.device.endswith(device.name[1:]):
        # TensorFlow goes elsewhere without a word where a device can't do an op.
        return [Problem(f"{device.name} doesn't compute: {product.device} did instead", "use --device cpu")]
    return [] if right else [Problem(f"{device.name} computes wrongly in {dtype}", "use --precision float32")]


def _text(facts: dict[str, Any], device: Device | None, problems: list[Problem]) -> str:
    gpus = [
        f"{gpu['name']}, {gpu['memory_gib']} GiB, compute capability {gpu['compute_capability']}"
        for gpu in facts["gpus"]
    ]
    driver = facts["driver"] or ("unknown" if gpus else "none")
    if driver != "none" and facts["cuda_version"]:
        driver += f"; TensorFlow is built for CUDA {facts['cuda_version']}"
    rows = {
        "TensorFlow": facts["tensorflow"] or "can't be imported",
        "Keras": facts["keras"] or "not installed",
        "GPUs": "\n".join(gpus) or "none",
        "GPU driver": driver,
        "CPU features": " ".join(facts["cpu_features"]) or "unknown",
        "Device": f"{device.name}, {device.description}" if device else "none",
        "Precision": device.precision if device else "none",
        "Why": device.note if device else "see the problems",
        "Problems": "\n".join(f"{problem.cause}\n  -> {problem.remedy}" for problem in problems) or "none",
    }
    width = max(map(len, rows)) + 2
    return "\n".join(
        f"{title:{width}}{text.replace(chr(10), chr(10) + ' ' * width)}" for title, text in rows.items()
    )
