"""Tests of `mnist_core.diagnosis`, on machines made of folders, with libraries that are really loaded."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mnist_core import diagnosis
from mnist_core.diagnosis import CUDA_12_LIBRARIES

ROOT = Path(__file__).parents[1]
# Stands in for a TensorFlow that sees no GPU, because the real one takes seconds to import.
TENSORFLOW = """
class sysconfig:
    get_build_info = staticmethod(lambda: BUILD)

class config:
    list_physical_devices = staticmethod(lambda kind: [])
"""
CUDA_BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1"}
DRIVER = """
int cuInit(unsigned flags) { return CODE; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
"""
DIAGNOSE = """
import sys
from pathlib import Path
from mnist_core import diagnosis
diagnosis.ROOT = Path(sys.argv[1])
for problem in diagnosis.diagnose():
    print(problem.cause, "->", problem.remedy)
"""
LOAD = """
import contextlib, ctypes, sys
for name in sys.argv[1:]:
    with contextlib.suppress(OSError):
        print(ctypes.CDLL(name)._name)
"""


@functools.cache
def compiled(source: str) -> bytes:
    """A shared library."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc, to compile libraries that stand in for NVIDIA's")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library.so"
        command = ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=source, text=True, check=True)
        return library.read_bytes()


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def python(code: str, *arguments: str, **variables: str) -> list[str]:
    """The lines that a fresh Python prints."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CUDA")}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.check_output(command, env={**environ, **variables}, text=True).splitlines()


class Machine:
    """``root`` has its proc, sys and dev; the linker looks in ``linked``; pip has filled ``site``."""

    def __init__(self, folder: Path) -> None:
        self.root, self.linked, self.site = folder / "root", folder / "linked", folder / "site"
        self.install_tensorflow(CUDA_BUILD)

    def plug_in_card(self, kind: str) -> None:
        write(self.root / "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
        write(self.root / "sys/bus/pci/devices/0000:01:00.0/class", f"{kind}\n")

    def install_driver(self, code: int = 0, cuda: int = 13000) -> None:
        source = DRIVER.replace("CODE", str(code)).replace("VERSION", str(cuda))
        for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
            write(self.linked / name, compiled(source))

    def install_tensorflow(self, build: dict) -> None:
        write(self.site / "tensorflow/__init__.py", TENSORFLOW.replace("BUILD", repr(build)))

    def install_libraries(self) -> None:
        for name, folder in CUDA_12_LIBRARIES.items():
            write(self.site / "nvidia" / folder / "lib" / name, compiled(""))

    def problems(self, **variables: str) -> list[str]:
        """What `diagnosis.diagnose` says there, a line each."""
        paths = {"LD_LIBRARY_PATH": str(self.linked), "PYTHONPATH": f"{self.site}{os.pathsep}{ROOT}"}
        return python(DIAGNOSE, str(self.root), **{"KERAS_BACKEND": "tensorflow", **paths, **variables})


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A machine without anything of NVIDIA's."""
    if sys.platform != "linux":
        pytest.skip("TensorFlow has GPU support on Linux only")
    return Machine(tmp_path)


@pytest.fixture(scope="session")
def linked() -> list[str]:
    """Those of NVIDIA's libraries that the linker finds by itself."""
    return python(LOAD, *CUDA_12_LIBRARIES, "libcuda.so.1", "libnvidia-ml.so.1")


@pytest.fixture
def machine(bare: Machine, linked: list[str]) -> Machine:
    """A machine with an NVIDIA card, where the linker finds neither driver nor CUDA 12 by itself."""
    if linked:
        pytest.skip(f"this machine has {', '.join(linked)}, which would hide what is tested")
    bare.plug_in_card("0x030200")
    return bare


def test_the_keras_variable_outdoes_the_file_and_a_broken_file_is_no_problem(bare: Machine) -> None:
    file = bare.root / "keras.json"
    write(file, '{"backend": "jax"}')
    cause = f"'backend' in {file} is jax, but this training loop is TensorFlow's"
    home = {"KERAS_HOME": str(bare.root)}
    assert bare.problems(KERAS_BACKEND="", **home) == [f"{cause} -> set KERAS_BACKEND=tensorflow"]
    assert bare.problems(KERAS_BACKEND="tensorflow", **home) == []
    write(file, "{")
    assert bare.problems(KERAS_BACKEND="", **home) == []


def test_no_nvidia_hardware_is_no_problem(bare: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.plug_in_card("0x040300")  # The sound part of a graphics card.
    assert bare.problems() == []
    monkeypatch.setattr(diagnosis, "ROOT", bare.root)
    (problem,) = diagnosis.why_no_gpu()
    assert problem.cause == "this machine has no NVIDIA GPU"


@pytest.mark.parametrize("trace", ["proc/driver/nvidia/version", "dev/nvidiactl"])
def test_a_driver_in_a_container_is_hardware(trace: str, bare: Machine) -> None:
    write(bare.root / trace, "")
    assert bare.problems() != []


def test_the_driver_version_is_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "ROOT", tmp_path)
    assert diagnosis.driver_version() is None
    kernel = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release\n"
    write(tmp_path / "proc/driver/nvidia/version", f"{kernel}GCC version: 12.3.0\n")
    assert diagnosis.driver_version() == "580.65.06"


def test_a_missing_driver_and_each_missing_library_are_named(machine: Machine) -> None:
    driver, libraries = machine.problems()
    assert "libcuda.so.1: cannot open" in driver
    assert "--gpus all" in driver
    assert all(name in libraries for name in CUDA_12_LIBRARIES)
    assert 'pip install "tensorflow[and-cuda]"' in libraries


def test_libraries_of_the_linker_and_of_wheels_are_both_found(machine: Machine) -> None:
    machine.install_driver()
    machine.install_libraries()
    cufft = machine.site / "nvidia/cufft/lib/libcufft.so.11"
    cufft.rename(machine.linked / cufft.name)
    (line,) = machine.problems()
    assert line.startswith("TensorFlow sees no GPU, although its driver and libraries load")
    (machine.site / "nvidia/cudnn/lib/libcudnn.so.9").unlink()
    (line,) = machine.problems()
    assert line.startswith("TensorFlow can't find libcudnn.so.9 ->")


def test_a_library_that_does_not_load_is_told_apart_from_a_missing_one(machine: Machine) -> None:
    machine.install_driver()
    machine.install_libraries()
    broken = machine.site / "nvidia/cufft/lib/libcufft.so.11"
    broken.write_bytes(b"")
    (line,) = machine.problems()
    assert line.startswith(f"a CUDA library doesn't load: {broken}: ")
    assert "--force-reinstall" in line


def test_cuda_13_alone_is_called_the_wrong_one(machine: Machine) -> None:
    machine.install_driver()
    write(machine.site / "nvidia/cu13/lib/libcudart.so.13", compiled(""))
    (line,) = machine.problems()
    assert line.startswith("TensorFlow can't find libcudart.so.12,")
    assert ": it needs CUDA 12, and only CUDA 13 is installed -> run: pip install" in line


def test_a_driver_that_does_not_serve_is_the_first_cause(machine: Machine) -> None:
    machine.install_driver(code=803)
    assert "finds no usable GPU: cuInit returns 803 -> run nvidia-smi" in machine.problems()[0]
    machine.install_driver(cuda=11080)
    assert "is too old: it knows CUDA up to 11 -> install driver 525" in machine.problems()[0]
    (machine.linked / "libnvidia-ml.so.1").unlink()
    assert "doesn't load: libnvidia-ml.so.1" in machine.problems()[0]


@pytest.mark.parametrize("value", ["", "-1", "-1,0"])
def test_a_variable_that_hides_the_gpus_is_the_first_cause(value: str, machine: Machine) -> None:
    expected = f"CUDA_VISIBLE_DEVICES='{value}' hides every GPU -> unset CUDA_VISIBLE_DEVICES"
    assert machine.problems(CUDA_VISIBLE_DEVICES=value)[0] == expected


def test_a_tensorflow_without_cuda_needs_no_libraries(machine: Machine) -> None:
    machine.install_driver()
    machine.install_tensorflow({"is_cuda_build": False})
    (line,) = machine.problems()
    assert line.startswith("this TensorFlow was built without CUDA ->")


@pytest.mark.parametrize(("system", "word"), [("win32", "WSL2"), ("darwin", "macOS")])
def test_systems_without_gpu_support_say_so(system: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    (problem,) = diagnosis.why_no_gpu()
    assert word in f"{problem.cause} {problem.remedy}"
