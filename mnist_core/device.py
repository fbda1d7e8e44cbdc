"""The device and the precision that a program computes with, and why not others."""

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnist_core import __version__
from mnist_core.config import PRECISIONS
from mnist_core.errors import DeviceError, UsageError

ROOT = Path("/")
CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
# TensorFlow's and its neighbours'. Not every TF_*: Terraform keeps secrets in TF_VAR_* and TF_TOKEN_*.
VARIABLES = re.compile(
    r"TF_(CONFIG|DETERMINISTIC_OPS|(CPP|XLA|GPU|CUDNN|FORCE|ENABLE|DISABLE|USE|NUM)_.*)|XLA_FLAGS"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|NVIDIA_TF32_OVERRIDE|OMP_NUM_THREADS|KERAS_BACKEND|KERAS_HOME"
)
# What TensorFlow 2.21 opens before it registers a GPU, and the folder of site-packages/nvidia where it looks
# besides the linker's own paths. Read from its log at TF_CPP_MAX_VLOG_LEVEL=1, and from `readelf -d`.
CUDA_12_LIBRARIES = {
    "libcudart.so.12": "cuda_runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libcudnn.so.9": "cudnn",
}
INSTALL_CUDA_12 = 'run: pip install "tensorflow[and-cuda]" (about 3 GB)'
REPAIR_CUDA_12 = 'run: pip install --force-reinstall "tensorflow[and-cuda]" (about 3 GB)'
USE_CPU = "use --device cpu"
MORE = "python -m runners.doctor tells more"


@dataclasses.dataclass(frozen=True)
class Device:
    """What was chosen: ``name`` is for `tf.device`, ``precision`` a Keras dtype policy, ``note`` says why."""

    name: str
    kind: str
    description: str
    precision: str
    note: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that is wrong with the machine, and what to do about it."""

    cause: str
    remedy: str


def choose(device: str = "auto", precision: str = "auto", *, deterministic: bool = False) -> Device:
    """Sets TensorFlow up for one device. Call it before anything else uses TensorFlow, as often as you like.

    Every GPU gets memory growth, or TensorFlow would take all of its memory; ``cpu`` hides the GPUs.
    The precision is resolved, not installed: give it to the model as its dtype policy.

    Args:
      device: ``auto`` (the first GPU, else the CPU), ``cpu``, ``gpu`` or ``gpu:N``.
      precision: a Keras dtype policy, or ``auto``: mixed_bfloat16 where it is native, else float32.
      deterministic: allow only ops that repeat bit for bit; random ops then need a seed.

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
        return _use_cpu(precision, _hide_gpus(tf.config))
    problem = None
    if not tf.config.list_physical_devices("GPU"):
        problem = why_no_gpu(tf.sysconfig.get_build_info())[0]
    if device == "auto" and not tf.config.get_visible_devices("GPU"):
        return _use_cpu(precision, problem.cause if problem else "this program has hidden the GPUs")
    if problem:
        raise DeviceError(f"--device {device}: {problem.cause}; {problem.remedy}; {MORE}")
    return _use_gpu(tf.config, int(wanted[1] or 0), precision)


def describe() -> dict[str, Any]:
    """What computes here, as JSON values: versions, CPU, GPUs, driver, environment variables, commit."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    return {
        "mnist_core": __version__,
        "git_commit": git_commit(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": version("keras"),
        "numpy": version("numpy"),
        "cuda_version": build.get("cuda_version"),
        "cudnn_version": build.get("cudnn_version"),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": cores(),
        "cpu_features": cpu_features(),
        "gpus": [_gpu_facts(tf.config, gpu) for gpu in tf.config.list_physical_devices("GPU")],
        "driver": driver_version(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)},
    }


def diagnose() -> list[Problem]:
    """What is wrong here. A machine without NVIDIA hardware isn't broken, so that isn't in the list."""
    problems = [wrong] if (wrong := backend_problem()) else []
    try:
        import tensorflow as tf
    except Exception as error:  # A dependency that doesn't fit raises anything at all here.
        cause = " ".join(f"TensorFlow can't be imported: {error.__context__ or error}".split())
        return [*problems, Problem(cause, 'run: pip install "tensorflow>=2.21"')]
    if has_nvidia_hardware() and not tf.config.list_physical_devices("GPU"):
        problems += why_no_gpu(tf.sysconfig.get_build_info())
    return problems


def why_no_gpu(
    build: Mapping[str, Any],
    *,
    system: str = sys.platform,
    root: Path = ROOT,
    wheels: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[Problem]:
    """Why TensorFlow sees no GPU, the deepest cause first; never empty.

    Args:
      build: what `tf.sysconfig.get_build_info` returns.
      system: as `sys.platform`.
      root: the folder of ``proc``, ``sys`` and ``dev``.
      wheels: the ``nvidia`` folder of site-packages.
      environ: the environment variables.
    """
    if system == "win32":
        return [Problem("TensorFlow has no GPU support on Windows since 2.11", f"use WSL2, or {USE_CPU}")]
    if system == "darwin":
        return [
            Problem("TensorFlow has no GPU support on macOS; tensorflow-metal is for older ones", USE_CPU)
        ]
    if not has_nvidia_hardware(root):
        return [Problem("this machine has no NVIDIA GPU", USE_CPU)]
    problems = []
    hidden = environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.split(",")[0].strip() in ("", "-1"):
        problems.append(Problem(f"CUDA_VISIBLE_DEVICES='{hidden}' hides every GPU", "unset it"))
    elif broken := _driver_problem(hidden):
        problems.append(broken)
    if not build.get("is_cuda_build"):
        problems.append(Problem("this TensorFlow was built without CUDA", INSTALL_CUDA_12))
    elif build["cuda_version"].startswith("12."):
        problems += _library_problems(wheels or _site_packages() / "nvidia")
    unknown = "TensorFlow sees no GPU, although its driver and libraries load"
    return problems or [Problem(unknown, "set TF_CPP_MIN_LOG_LEVEL=0 and read its log")]


def backend_problem() -> Problem | None:
    """Whether Keras has, or would have, a backend other than TensorFlow. Doesn't import Keras."""
    file = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    backend, source = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if "keras" in sys.modules:
        backend, source = sys.modules["keras"].config.backend(), "the backend of Keras"
    elif not backend and file.is_file():
        source = f"'backend' in {file}"
        with contextlib.suppress(ValueError):  # Keras takes its default then.
            backend = json.loads(file.read_text(encoding="utf-8")).get("backend")
    if backend in (None, "", "tensorflow"):
        return None
    return Problem(
        f"{source} is {backend}, but this training loop is TensorFlow's", "set KERAS_BACKEND=tensorflow"
    )


def has_nvidia_hardware(root: Path = ROOT) -> bool:
    """Whether NVIDIA's driver has left traces (also in a container or WSL2), or a display controller has."""
    traces = ("proc/driver/nvidia/version", "dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1")
    return any((root / trace).exists() for trace in traces) or any(
        vendor.read_text().strip() == "0x10de" and (vendor.parent / "class").read_text().startswith("0x03")
        for vendor in root.glob("sys/bus/pci/devices/*/vendor")
    )


def driver_version(root: Path = ROOT) -> str | None:
    """The version of NVIDIA's kernel driver, such as ``580.65.06``."""
    file = root / "proc/driver/nvidia/version"
    found = re.search(r"\d{3,}\.[\d.]+", file.read_text()) if file.exists() else None
    return found and found[0]


def cpu_name(root: Path = ROOT) -> str:
    """The CPU's model."""
    return _cpuinfo(root).get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_features(root: Path = ROOT) -> list[str]:
    """The instruction sets that matter here; empty where the system isn't Linux on x86."""
    flags = _cpuinfo(root).get("flags", "").split()
    return [feature for feature in CPU_FEATURES if feature in flags]


def version(package: str) -> str | None:
    """The installed version of a package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit(root: Path) -> str | None:
    """The commit of a checkout, with ``-dirty`` where its tracked files differ; None outside of one."""
    # An installed package may lie inside somebody else's checkout.
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _use_cpu(precision: str, *notes: str) -> Device:
    native = not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_features())
    return _device("/CPU:0", f"{cpu_name()}, {cores()} cores", precision, native, notes)


def _use_gpu(config: Any, number: int, precision: str) -> Device:
    # An earlier choose("cpu") may have hidden them.
    gpus = config.get_visible_devices("GPU") or config.list_physical_devices("GPU")
    flag = f"--device gpu:{number}"
    if number >= len(gpus):
        raise DeviceError(f"{flag}: TensorFlow sees {len(gpus)} GPU(s), the first is gpu:0; {MORE}")
    notes = []
    try:
        config.set_visible_devices(gpus, "GPU")
    except RuntimeError as error:
        raise DeviceError(
            f"{flag}: GPUs were hidden when TensorFlow started; start the program anew"
        ) from error
    for gpu in gpus:
        try:
            config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError):
            # Initialised already, or split into logical devices: it works, only less frugally.
            notes = ["it was set up earlier without memory growth"]
    facts = _gpu_facts(config, gpus[number])
    native = float(facts["compute_capability"] or 0) >= 8
    memory = f", {facts['memory_gib']} GiB" if facts["memory_gib"] else ""
    return _device(f"/GPU:{number}", facts["name"] + memory, precision, native, notes)


def _hide_gpus(config: Any) -> str:
    try:
        config.set_visible_devices([], "GPU")
    except RuntimeError:
        return "GPUs stay visible, because TensorFlow was set up earlier"
    return ""


def _device(name: str, description: str, precision: str, native: bool, notes: Iterable[str]) -> Device:
    """Resolves the precision; ``native`` says whether the device has bfloat16 instructions."""
    kind = name[1:4]
    why = ""
    if precision == "auto":
        precision = "mixed_bfloat16" if native else "float32"
        why = f"the {kind} has {'' if native else 'no '}bfloat16 instructions"
    elif (precision == "mixed_bfloat16" and not native) or (precision == "mixed_float16" and kind == "CPU"):
        why = f"{precision} is slow on this {kind}"
    return Device(name, kind.lower(), description, precision, "; ".join(filter(None, [*notes, why])))


def _gpu_facts(config: Any, gpu: Any) -> dict[str, Any]:
    details = config.experimental.get_device_details(gpu)
    capability = details.get("compute_capability")
    return {
        "name": details.get("device_name", gpu.name),
        "compute_capability": capability and "{}.{}".format(*capability),
        "memory_gib": _memory_gib(int(gpu.name.rsplit(":", 1)[1])),
    }


def _memory_gib(number: int) -> int | None:
    # TensorFlow knows it only once it has taken the memory.
    if _load_error("libcuda.so.1"):
        return None
    cuda, handle, size = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(handle), number):
        return None
    return None if cuda.cuDeviceTotalMem_v2(ctypes.byref(size), handle) else round(size.value / 2**30)


def _driver_problem(visible: str | None) -> Problem | None:
    # TensorFlow 2.21 needs NVML, too: without it no GPU is registered, and nothing is said.
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        if error := _load_error(name):
            remedy = "install NVIDIA's driver, or start the container with --gpus all"
            return Problem(f"a library of NVIDIA's driver doesn't load: {error}", remedy)
    cuda, newest = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(newest))
    if newest.value < 12000:
        cause = f"NVIDIA's driver is too old: it knows CUDA up to {newest.value // 1000}"
        return Problem(cause, "install driver 525 or newer")
    if code := cuda.cuInit(0):
        given = f" with CUDA_VISIBLE_DEVICES='{visible}'" if visible else ""
        cause = f"NVIDIA's driver finds no usable GPU{given}: cuInit returns {code}"
        return Problem(cause, "see what nvidia-smi says; after an update of the driver, reboot")
    return None


def _library_problems(wheels: Path) -> list[Problem]:
    errors = {name: _load_error(name, wheels / folder / "lib") for name, folder in CUDA_12_LIBRARIES.items()}
    missing = [name for name, error in errors.items() if error.startswith(f"{name}: cannot open")]
    problems = []
    if missing:
        cause = f"TensorFlow can't find {', '.join(missing)}"
        if "libcudart.so.12" in missing and not _load_error("libcudart.so.13", wheels / "cu13" / "lib"):
            cause = (
                f"only CUDA 13 is installed, and TensorFlow needs CUDA 12: can't find {', '.join(missing)}"
            )
        problems.append(Problem(cause, INSTALL_CUDA_12))
    broken = [error for name, error in errors.items() if error and name not in missing]
    return problems + [Problem(f"a CUDA library doesn't load: {error}", REPAIR_CUDA_12) for error in broken]


def _load_error(name: str, folder: Path | None = None) -> str:
    """Why the linker can't open a library; empty if it can."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        found = folder is not None and (folder / name).exists()
        return _load_error(str(folder / name)) if found else str(error)
    return ""


def _site_packages() -> Path:
    return Path(importlib.util.find_spec("tensorflow").origin).parents[1]


def _cpuinfo(root: Path) -> dict[str, str]:
    file = root / "proc/cpuinfo"
    lines = file.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if file.exists() else []
    fields = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in fields}
