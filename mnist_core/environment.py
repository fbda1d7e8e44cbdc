"""What computes here: versions, CPU, GPUs, environment variables, commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from mnist_core import __version__
from mnist_core.diagnosis import driver_version, gpu_memory_gib

CPUINFO = Path("/proc/cpuinfo")
CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
# TensorFlow's and its neighbours'. Not every TF_*: Terraform keeps secrets in TF_VAR_* and TF_TOKEN_*.
VARIABLES = re.compile(
    r"TF_(CONFIG|DETERMINISTIC_OPS|(CPP|XLA|GPU|CUDNN|FORCE|ENABLE|DISABLE|USE|NUM)_.*)|XLA_FLAGS"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|NVIDIA_TF32_OVERRIDE|OMP_NUM_THREADS|KERAS_BACKEND|KERAS_HOME"
)


def describe() -> dict[str, Any]:
    """What computes here, as JSON values: versions, CPU, GPUs, driver, environment variables, commit.

    Where TensorFlow can't be imported, its version is None and there are no GPUs.
    """
    try:
        import tensorflow as tf
    except Exception:  # `diagnosis.diagnose` tells why.
        tf = None
    build = tf.sysconfig.get_build_info() if tf else {}
    return {
        "mnist_core": __version__,
        "git_commit": git_commit(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "tensorflow": tf and tf.__version__,
        "keras": _version("keras"),
        "numpy": _version("numpy"),
        "cuda_version": build.get("cuda_version"),
        "cudnn_version": build.get("cudnn_version"),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": cores(),
        "cpu_features": cpu_features(),
        "gpus": [gpu_facts(tf.config, gpu) for gpu in tf.config.list_physical_devices("GPU")] if tf else [],
        "driver": driver_version(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)},
    }


def git_commit(checkout: Path) -> str | None:
    """The commit of a checkout, with ``-dirty`` where its tracked files differ; None outside of one."""
    # An installed package may lie inside somebody else's checkout.
    if not (checkout / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def gpu_facts(config: Any, gpu: Any) -> dict[str, Any]:
    """Name, compute capability and memory in GiB of one of the physical devices that ``tf.config`` lists."""
    details = config.experimental.get_device_details(gpu)
    capability = details.get("compute_capability")
    return {
        "name": details.get("device_name", gpu.name),
        "compute_capability": capability and "{}.{}".format(*capability),
        "memory_gib": gpu_memory_gib(int(gpu.name.rsplit(":", 1)[1])),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)  # Without importing it.
    except importlib.metadata.PackageNotFoundError:
        return None


def cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """As its maker calls it."""
    name = _cpuinfo().get("model name") or platform.processor() or platform.machine()
    return " ".join(name.split())


def cpu_features() -> list[str]:
    """The instruction sets that matter here; empty where the system isn't Linux on x86."""
    flags = _cpuinfo().get("flags", "").split()
    return [feature for feature in CPU_FEATURES if feature in flags]


def _cpuinfo() -> dict[str, str]:
    """What the kernel says about the first core."""
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    fields = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in fields}
