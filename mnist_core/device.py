"""The device and the precision that a program computes with."""

import contextlib
import dataclasses
import os
import re
from typing import Any

from mnist_core.config import PRECISIONS, Config
from mnist_core.diagnosis import backend_problem, why_no_gpu
from mnist_core.environment import cores, cpu_features, cpu_name, gpu_facts
from mnist_core.errors import DeviceError, UsageError

MORE = "python -m runners.doctor tells more"


@dataclasses.dataclass(frozen=True)
class Device:
    """What was chosen: ``name`` is for `tf.device`, ``precision`` a Keras dtype policy, ``note`` says why.

    ``parts`` is how many computations it runs side by side.
    """

    name: str
    kind: str
    description: str
    precision: str
    parts: int
    note: str


def choose(
    device: str = "auto", precision: str = "auto", *, parts: int | None = None, deterministic: bool = False
) -> Device:
    """Sets TensorFlow up for one device, as often as you like.

    Where there are GPUs, call it before anything computes: TensorFlow then fixes which ones are visible
    (none with ``cpu``) and how they take memory (as they need it, not all at once).
    The precision is resolved, not installed: give it to the model as its dtype policy.

    Args:
      device: ``auto`` (the first GPU, else the CPU), ``cpu``, ``gpu`` or ``gpu:N``.
      precision: a Keras dtype policy, or ``auto``: mixed_bfloat16 where it is native, else float32.
      parts: how many computations shall run side by side, each on its share of the CPU's cores, which
        keeps them busier than all cores on each kernel; left out, 2 on a CPU of several cores, else 1.
        Only the first call in a program can set it, and only before TensorFlow computes.
      deterministic: allow only ops that repeat bit for bit; random ops then need a seed. TensorFlow keeps
        this up until the program ends.

    Raises:
      UsageError: there is no such device or precision, or Keras runs on another backend than TensorFlow.
      DeviceError: the GPU that was asked for is not there.
    """
    wanted = re.fullmatch(r"auto|cpu|gpu(?::([0-9]+))?", device)
    if not wanted:
        raise UsageError(f"--device must be auto, cpu, gpu or gpu:N, not '{device}'")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, not '{precision}'")
    if wrong := backend_problem():
        raise UsageError(f"{wrong.cause}; {wrong.remedy}")
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if device == "cpu":
        return _use_cpu(precision, parts, note=_hide_gpus(tf.config))
    if not tf.config.list_physical_devices("GPU"):
        problem = why_no_gpu()[0]
        if device == "auto":
            return _use_cpu(precision, parts, note=problem.cause)
        raise DeviceError(f"--device {device}: {problem.cause}; {problem.remedy}; {MORE}")
    if device == "auto" and not tf.config.get_visible_devices("GPU"):
        return _use_cpu(precision, parts, note="this program has hidden the GPUs")
    return _use_gpu(tf.config, int(wanted[1] or 0), precision, parts)


def resolve(config: Config) -> tuple[Device, Config]:
    """Chooses the device for training, and ``jit`` and ``parts`` where the configuration leaves them open.

    Raises:
      UsageError: these don't go together. DeviceError: as `choose`.
    """
    import tensorflow as tf

    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    undivided = alone and config.gradient_accumulation == 1
    if config.jit == "on" and not undivided:
        raise UsageError("--jit on works with one replica and without --gradient-accumulation")
    if config.jit == "on" and config.deterministic:
        raise UsageError("--jit on has no --deterministic max-pooling; leave one of them out")
    divisible = undivided and config.jit != "on" and config.batch_size > 1
    parts = config.parts if divisible else 1
    if config.parts not in (None, parts):
        raise UsageError(
            "--parts works with one replica, without --gradient-accumulation and --jit on, and with a "
            "--batch-size that has an image for each"
        )
    chosen = choose(config.device, config.precision, parts=parts, deterministic=config.deterministic)
    # On a CPU XLA's convolutions take three times as long as oneDNN's.
    pays = chosen.kind == "gpu" and chosen.parts == 1 and undivided and not config.deterministic
    jit = config.jit == "on" or (config.jit == "auto" and pays)
    return chosen, config.replace(jit="on" if jit else "off", parts=chosen.parts)


def limit_threads(count: int) -> None:
    """Gives each operation at most ``count`` threads, unless TF_NUM_INTRAOP_THREADS says how many.

    Computations that run side by side each need a share of the cores, and one image is answered for in half
    the time by one thread.
    """
    import tensorflow as tf

    if "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    # TensorFlow may have started, or have been set up by its user: all is computed then too, only slower.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(count)


def _use_cpu(precision: str, parts: int | None, *, note: str) -> Device:
    native = not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_features())
    count = cores()
    description = f"{cpu_name()}, {count} core{'s' if count > 1 else ''}"
    parts = parts or min(count, 2)
    limit_threads(max(1, count // parts))
    return _device("/CPU:0", description, precision, native, parts=parts, note=note)


def _use_gpu(config: Any, number: int, precision: str, parts: int | None) -> Device:
    # An earlier choose("cpu") may have hidden them.
    gpus = config.get_visible_devices("GPU") or config.list_physical_devices("GPU")
    flag = f"--device gpu:{number}"
    if number >= len(gpus):
        raise DeviceError(f"{flag}: TensorFlow sees {len(gpus)} GPU(s), the first is gpu:0; {MORE}")
    try:
        config.set_visible_devices(gpus, "GPU")
    except RuntimeError as error:
        cause = f"{flag}: GPUs were hidden when TensorFlow started"
        raise DeviceError(f"{cause}; start the program anew") from error
    note = ""
    for gpu in gpus:
        try:
            config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError):
            # Initialised already, or split into logical devices: it works, only less frugally.
            note = "it was set up earlier without memory growth"
    facts = gpu_facts(config, gpus[number])
    native = float(facts["compute_capability"] or 0) >= 8
    memory = f", {facts['memory_gib']} GiB" if facts["memory_gib"] else ""
    return _device(f"/GPU:{number}", facts["name"] + memory, precision, native, parts=parts or 1, note=note)


def _hide_gpus(config: Any) -> str:
    try:
        config.set_visible_devices([], "GPU")
    except RuntimeError:
        return "GPUs stay visible, because TensorFlow was set up earlier"
    return ""


def _device(name: str, description: str, precision: str, native: bool, *, parts: int, note: str) -> Device:
    """Resolves the precision; ``native`` says whether the device has bfloat16 instructions."""
    kind = name[1:4]
    why = ""
    if precision == "auto":
        precision = "mixed_bfloat16" if native else "float32"
        why = f"the {kind} has {'' if native else 'no '}bfloat16 instructions"
    elif (precision == "mixed_bfloat16" and not native) or (precision == "mixed_float16" and kind == "CPU"):
        why = f"{precision} is slow on this {kind}"
    return Device(name, kind.lower(), description, precision, parts, "; ".join(filter(None, [note, why])))
