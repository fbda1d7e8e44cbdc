"""What is wrong with this machine: why TensorFlow sees no GPU, or can't serve at all, and what to do."""

import contextlib
import ctypes
import dataclasses
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

from mnist_core.files import expanded

ROOT = Path("/")
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


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that is wrong with the machine, and what to do about it."""

    cause: str
    remedy: str


def diagnose() -> list[Problem]:
    """What is wrong here. A machine without NVIDIA hardware isn't broken, so that isn't in the list."""
    problems = [wrong] if (wrong := backend_problem()) else []
    try:
        import tensorflow as tf
    except Exception as error:  # A dependency that doesn't fit raises anything at all here.
        cause = " ".join(f"TensorFlow can't be imported: {error.__context__ or error}".split())
        return [*problems, Problem(cause, 'run: pip install "tensorflow>=2.21"')]
    if _has_nvidia_hardware() and not tf.config.list_physical_devices("GPU"):
        problems += why_no_gpu()
    return problems


def backend_problem() -> Problem | None:
    """Whether Keras has, or would have, a backend other than TensorFlow. Doesn't import Keras."""
    file = expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "keras.json"
    backend, source = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if keras := sys.modules.get("keras"):
        backend, source = keras.config.backend(), "the backend of Keras"
    elif not backend and file.is_file():
        source = f"'backend' in {file}"
        with contextlib.suppress(ValueError):  # Keras takes its default then.
            backend = json.loads(file.read_text(encoding="utf-8")).get("backend")
    if backend in (None, "", "tensorflow"):
        return None
    cause = f"{source} is {backend}, but this training loop is TensorFlow's"
    return Problem(cause, "set KERAS_BACKEND=tensorflow")


def why_no_gpu() -> list[Problem]:
    """Why TensorFlow sees no GPU, the deepest cause first; never empty."""
    if sys.platform == "win32":
        return [Problem("TensorFlow has no GPU support on Windows", "use WSL2, or --device cpu")]
    if sys.platform == "darwin":
        return [Problem("TensorFlow has no GPU support on macOS", USE_CPU)]
    if not _has_nvidia_hardware():
        return [Problem("this machine has no NVIDIA GPU", USE_CPU)]
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    problems = []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in ("", "-1"):
        cause = f"CUDA_VISIBLE_DEVICES='{visible}' hides every GPU"
        problems.append(Problem(cause, "unset CUDA_VISIBLE_DEVICES"))
    elif broken := _driver_problem(visible):
        problems.append(broken)
    if not build["is_cuda_build"]:
        problems.append(Problem("this TensorFlow was built without CUDA", INSTALL_CUDA_12))
    elif build["cuda_version"].startswith("12."):
        problems += _library_problems()
    unknown = "TensorFlow sees no GPU, although its driver and libraries load"
    return problems or [Problem(unknown, "set TF_CPP_MIN_LOG_LEVEL=0 and read TensorFlow's log")]


def driver_version() -> str | None:
    """The version of NVIDIA's kernel driver, such as ``580.65.06``."""
    file = ROOT / "proc/driver/nvidia/version"
    found = re.search(r"\d{3,}\.[\d.]+", file.read_text()) if file.exists() else None
    return found and found[0]


def gpu_memory_gib(number: int) -> int | None:
    """The memory of a GPU, which TensorFlow knows only once it has taken it."""
    if _load_error("libcuda.so.1"):
        return None
    cuda, handle, size = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(handle), number):
        return None
    return None if cuda.cuDeviceTotalMem_v2(ctypes.byref(size), handle) else round(size.value / 2**30)


def _has_nvidia_hardware() -> bool:
    """Whether NVIDIA's driver has left traces (also in a container or WSL2), or a display controller has."""
    traces = ("proc/driver/nvidia/version", "dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1")
    return any((ROOT / trace).exists() for trace in traces) or any(
        vendor.read_text().strip() == "0x10de" and (vendor.parent / "class").read_text().startswith("0x03")
        for vendor in ROOT.glob("sys/bus/pci/devices/*/vendor")
    )


def _driver_problem(visible: str | None) -> Problem | None:
    # TensorFlow 2.21 needs NVML, too: without it no GPU is registered, and nothing is said.
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        if error := _load_error(name):
            remedy = "install NVIDIA's driver, or start the container with --gpus all"
            return Problem(f"NVIDIA's driver doesn't load: {error}", remedy)
    cuda, newest = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(newest))
    if newest.value < 12000:
        cause = f"NVIDIA's driver is too old: it knows CUDA up to {newest.value // 1000}"
        return Problem(cause, "install driver 525 or newer")
    if code := cuda.cuInit(0):
        given = f" with CUDA_VISIBLE_DEVICES='{visible}'" if visible else ""
        cause = f"NVIDIA's driver finds no usable GPU{given}: cuInit returns {code}"
        return Problem(cause, "run nvidia-smi; if the driver was just updated, reboot")
    return None


def _library_problems() -> list[Problem]:
    wheels = Path(importlib.util.find_spec("tensorflow").origin).parents[1] / "nvidia"
    errors = {name: _load_error(name, wheels / folder / "lib") for name, folder in CUDA_12_LIBRARIES.items()}
    missing = [name for name, error in errors.items() if error.startswith(f"{name}: cannot open")]
    broken = [error for name, error in errors.items() if error and name not in missing]
    problems = []
    if missing:
        cause = f"TensorFlow can't find {', '.join(missing)}"
        if "libcudart.so.12" in missing and not _load_error("libcudart.so.13", wheels / "cu13" / "lib"):
            cause += ": it needs CUDA 12, and only CUDA 13 is installed"
        problems.append(Problem(cause, INSTALL_CUDA_12))
    return problems + [Problem(f"a CUDA library doesn't load: {error}", REPAIR_CUDA_12) for error in broken]


def _load_error(name: str, folder: Path | None = None) -> str:
    """Why the linker can't open a library, which may also lie in a folder; empty if it can."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        found = folder is not None and (folder / name).exists()
        return _load_error(str(folder / name)) if found else str(error)
    return ""
