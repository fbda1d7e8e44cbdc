"""Tests of `mnist_core.device`, with libraries that are really compiled and loaded."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mnist_core import device
from mnist_core.errors import DeviceError, UsageError

ROOT = Path(__file__).parents[1]
CUDA_BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1"}
# As much of NVIDIA's driver as TensorFlow asks before it lists a GPU: two GPUs of 80 GiB, capability 9.0.
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return CODE; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *handle, int number) { *handle = number; return 0; }
int cuDeviceTotalMem_v2(size_t *size, int handle) { *size = 80ul << 30; return 0; }
int cuDeviceGetName(char *name, int length, int handle) { strncpy(name, "Paper GPU", length); return 0; }
int cuDeviceGetPCIBusId(char *id, int length, int handle) { strncpy(id, "0000:01:00.0", length); return 0; }
int cuDeviceGetAttribute(int *value, int what, int handle) {
    *value = what == 75 ? 9 : what == 76 ? 0 : 100;
    return 0;
}
"""
NVML = "int nvmlInit_v2(void) { return 0; } int nvmlShutdown(void) { return 0; }"
SEQUENCE = """
import dataclasses, json
import tensorflow as tf
from mnist_core.device import choose
from mnist_core.errors import DeviceError

def attempt(*arguments, **options):
    try:
        return dataclasses.asdict(choose(*arguments, **options))
    except DeviceError as error:
        return {"error": str(error)}

gpus = tf.config.list_physical_devices("GPU")
seen = {"gpus": len(gpus)}
if gpus:
    seen["beyond"] = attempt("gpu:2")
    seen["auto"] = attempt()
    seen["growth"] = [tf.config.experimental.get_memory_growth(gpu) for gpu in gpus]
    seen["second"] = attempt("gpu:1", "float32")
    seen["cpu"] = attempt("cpu")
    seen["visible with cpu"] = len(tf.config.get_visible_devices("GPU"))
    seen["auto after cpu"] = attempt()
    seen["gpu after cpu"] = attempt("gpu")
    attempt("cpu", deterministic=True)
    seen["sum"] = float(tf.reduce_sum(tf.ones(3)))
    seen["late cpu"] = attempt("cpu")
    seen["late gpu"] = attempt("gpu")
    try:
        tf.random.normal([1])
    except RuntimeError as error:
        seen["unseeded"] = str(error)
print(json.dumps(seen))
"""


def build(folder: Path, name: str, source: str = "") -> None:
    """Compiles a shared library."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("needs Linux and gcc, to compile libraries that stand in for NVIDIA's")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(folder / name)]
    subprocess.run(command, input=source, text=True, check=True)


def build_driver(folder: Path, code: int = 0, cuda: int = 13000) -> None:
    build(folder, "libcuda.so.1", DRIVER.replace("CODE", str(code)).replace("VERSION", str(cuda)))
    build(folder, "libnvidia-ml.so.1", NVML)


def python(code: str, **variables: str) -> str:
    """What a fresh Python prints."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS", "CUDA"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plug_in_card(root: Path, kind: str = "0x030200") -> None:
    card = root / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text(f"{kind}\n")


def causes(machine: Path, build_info: dict = CUDA_BUILD, **variables: str) -> list[str]:
    """What `why_no_gpu` says, a line each. The linker looks in ``linked``; pip has filled ``wheels``."""
    code = f"""
from pathlib import Path
from mnist_core.device import why_no_gpu
for problem in why_no_gpu({build_info!r}, root=Path("root"), wheels=Path("wheels").absolute()):
    print(problem.cause, "->", problem.remedy)
"""
    return python(
        f"import os; os.chdir({str(machine)!r})" + code, LD_LIBRARY_PATH=str(machine / "linked"), **variables
    ).splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with an NVIDIA card, where the linker finds neither driver nor CUDA 12 by itself."""
    names = [*device.CUDA_12_LIBRARIES, "libcuda.so.1", "libnvidia-ml.so.1"]
    code = f"""
import ctypes
for name in {names}:
    try:
        ctypes.CDLL(name)
        print(name)
    except OSError:
        pass
"""
    if found := python(code).split():
        pytest.skip(f"this machine has {', '.join(found)}, which would hide what is tested")
    plug_in_card(tmp_path / "root")
    return tmp_path


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What SEQUENCE sees on a machine with two GPUs that can be listed, but not started."""
    folder = tmp_path_factory.mktemp("linked")
    build_driver(folder)
    for name in device.CUDA_12_LIBRARIES:
        build(folder, name)
    seen = json.loads(python(SEQUENCE, LD_LIBRARY_PATH=str(folder)))
    if seen["gpus"] != 2:
        pytest.skip("this TensorFlow asks more of a driver than the test's has")
    return seen


@pytest.mark.parametrize("name", ["", "tpu", "GPU", "gpu:", "gpu:-1", "gpu:x", "gpu:0 "])
def test_a_malformed_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device must be .* not '{name}'"):
        device.choose(name)


def test_an_unknown_precision_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"--precision must be .* not 'bf16'"):
        device.choose("cpu", "bf16")


@pytest.mark.parametrize("source", ["variable", "file"])
def test_another_keras_backend_is_refused_before_tensorflow_is_imported(source: str, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = """
import sys
from mnist_core.device import choose
try:
    choose()
except Exception as error:
    print(type(error).__name__, error, "tensorflow" in sys.modules)
"""
    variables = {"KERAS_BACKEND": "jax"} if source == "variable" else {"KERAS_HOME": str(tmp_path)}
    told = "KERAS_BACKEND" if source == "variable" else f"'backend' in {tmp_path / 'keras.json'}"
    expected = f"{told} is jax, but this training loop is TensorFlow's; set KERAS_BACKEND=tensorflow"
    assert python(code, **variables).strip() == f"UsageError {expected} False"


def test_the_variable_outdoes_the_keras_file_and_a_broken_file_is_keras_default(tmp_path: Path) -> None:
    code = "from mnist_core.device import backend_problem; print(backend_problem())"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert python(code, KERAS_HOME=str(tmp_path), KERAS_BACKEND="tensorflow") == "None\n"
    (tmp_path / "keras.json").write_text("{")
    assert python(code, KERAS_HOME=str(tmp_path)) == "None\n"


def test_the_cpu_can_be_chosen_again_after_tensorflow_was_used() -> None:
    import tensorflow as tf

    first = device.choose("cpu", "float32")
    with tf.device(first.name):
        assert tf.ones(3).device.endswith("CPU:0")
    assert device.choose("cpu", "float32") == first
    assert (first.name, first.kind, first.precision) == ("/CPU:0", "cpu", "float32")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads /proc/cpuinfo")
def test_auto_is_bfloat16_exactly_on_a_cpu_that_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert device.choose("cpu").precision == ("mixed_bfloat16" if native else "float32")


def test_float16_on_a_cpu_is_taken_and_called_slow() -> None:
    chosen = device.choose("cpu", "mixed_float16")
    assert chosen.precision == "mixed_float16"
    assert "mixed_float16 is slow on this CPU" in chosen.note


def test_cpu_facts_come_from_the_first_core_and_are_empty_elsewhere(tmp_path: Path) -> None:
    assert device.cpu_features(tmp_path) == []
    (tmp_path / "proc").mkdir()
    core = "model name\t: Abacus 9: fast\nflags\t\t: fpu avx2 avx512_bf16_not amx_bf16\n\n"
    (tmp_path / "proc/cpuinfo").write_text(core + core.replace("amx_bf16", "fma"))
    assert device.cpu_features(tmp_path) == ["avx2", "amx_bf16"]
    assert device.cpu_name(tmp_path) == "Abacus 9: fast"


def test_a_gpu_gets_growth_and_the_precision_of_its_capability(sequence: dict) -> None:
    auto = sequence["auto"]
    assert (auto["name"], auto["kind"], auto["precision"]) == ("/GPU:0", "gpu", "mixed_bfloat16")
    assert auto["description"] == "Paper GPU, 80 GiB"
    assert sequence["growth"] == [True, True]
    assert (sequence["second"]["name"], sequence["second"]["precision"]) == ("/GPU:1", "float32")


def test_a_gpu_number_out_of_range_is_one_line(sequence: dict) -> None:
    expected = (
        "--device gpu:2: TensorFlow sees 2 GPU(s), the first is gpu:0; python -m runners.doctor tells more"
    )
    assert sequence["beyond"] == {"error": expected}


def test_cpu_hides_the_gpus_until_a_gpu_is_asked_for(sequence: dict) -> None:
    assert sequence["cpu"]["name"] == "/CPU:0"
    assert sequence["visible with cpu"] == 0
    assert sequence["auto after cpu"]["kind"] == "cpu"
    assert "this program has hidden the GPUs" in sequence["auto after cpu"]["note"]
    assert sequence["gpu after cpu"]["name"] == "/GPU:0"


def test_after_tensorflow_was_used_only_a_change_fails(sequence: dict) -> None:
    assert sequence["sum"] == 3
    assert sequence["late cpu"] == sequence["cpu"]
    assert "GPUs were hidden when TensorFlow started; start the program anew" in sequence["late gpu"]["error"]


def test_deterministic_refuses_unseeded_randomness(sequence: dict) -> None:
    assert "determinism" in sequence["unseeded"]


def test_without_nvidia_hardware_that_is_the_cause_and_no_problem(tmp_path: Path) -> None:
    plug_in_card(tmp_path, kind="0x040300")  # The sound part of a graphics card.
    (problem,) = device.why_no_gpu(CUDA_BUILD, root=tmp_path, system="linux")
    assert problem.cause == "this machine has no NVIDIA GPU"
    if not device.has_nvidia_hardware():
        assert device.diagnose() == []


@pytest.mark.parametrize("trace", ["proc/driver/nvidia/version", "dev/nvidiactl"])
def test_a_driver_in_a_container_is_hardware(trace: str, tmp_path: Path) -> None:
    assert not device.has_nvidia_hardware(tmp_path)
    (tmp_path / trace).parent.mkdir(parents=True)
    (tmp_path / trace).touch()
    assert device.has_nvidia_hardware(tmp_path)


def test_the_driver_version_is_read_from_the_kernel(tmp_path: Path) -> None:
    assert device.driver_version(tmp_path) is None
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    text = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release\nGCC version: 12.3.0\n"
    )
    (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert device.driver_version(tmp_path) == "580.65.06"


def test_a_missing_driver_and_each_missing_library_are_named(machine: Path) -> None:
    driver, libraries = causes(machine)
    assert "libcuda.so.1: cannot open" in driver
    assert "--gpus all" in driver
    for name in device.CUDA_12_LIBRARIES:
        assert name in libraries
    assert 'pip install "tensorflow[and-cuda]"' in libraries


def test_libraries_of_the_linker_and_of_wheels_are_both_found(machine: Path) -> None:
    build_driver(machine / "linked")
    for name, folder in device.CUDA_12_LIBRARIES.items():
        build(machine / "wheels" / folder / "lib" if folder.startswith("cu") else machine / "linked", name)
    (line,) = causes(machine)
    assert line.startswith("TensorFlow sees no GPU, although its driver and libraries load")
    (machine / "wheels/cudnn/lib/libcudnn.so.9").unlink()
    (line,) = causes(machine)
    assert line.startswith("TensorFlow can't find libcudnn.so.9 ->")


def test_a_library_that_does_not_load_is_told_apart_from_a_missing_one(machine: Path) -> None:
    build_driver(machine / "linked")
    for name, folder in device.CUDA_12_LIBRARIES.items():
        build(machine / "wheels" / folder / "lib", name)
    broken = machine / "wheels/cufft/lib/libcufft.so.11"
    broken.write_bytes(b"")
    (line,) = causes(machine)
    assert line.startswith(f"a CUDA library doesn't load: {broken}: ")
    assert "--force-reinstall" in line


def test_cuda_13_alone_is_called_the_wrong_one(machine: Path) -> None:
    build_driver(machine / "linked")
    build(machine / "wheels/cu13/lib", "libcudart.so.13")
    (line,) = causes(machine)
    assert line.startswith(
        "only CUDA 13 is installed, and TensorFlow needs CUDA 12: can't find libcudart.so.12,"
    )


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (
            {"code": 803},
            "NVIDIA's driver finds no usable GPU: cuInit returns 803 -> see what nvidia-smi says",
        ),
        (
            {"cuda": 11080},
            "NVIDIA's driver is too old: it knows CUDA up to 11 -> install driver 525 or newer",
        ),
    ],
)
def test_a_driver_that_does_not_serve_is_the_first_cause(driver: dict, expected: str, machine: Path) -> None:
    build_driver(machine / "linked", **driver)
    assert causes(machine)[0].startswith(expected)


@pytest.mark.parametrize("value", ["", "-1", "-1,0"])
def test_a_variable_that_hides_the_gpus_is_the_first_cause(value: str, machine: Path) -> None:
    assert (
        causes(machine, CUDA_VISIBLE_DEVICES=value)[0]
        == f"CUDA_VISIBLE_DEVICES='{value}' hides every GPU -> unset it"
    )


def test_a_tensorflow_without_cuda_needs_no_libraries(machine: Path) -> None:
    build_driver(machine / "linked")
    (line,) = causes(machine, {"is_cuda_build": False})
    assert line.startswith("this TensorFlow was built without CUDA ->")


@pytest.mark.parametrize(("system", "word"), [("win32", "WSL2"), ("darwin", "macOS")])
def test_systems_without_gpu_support_say_so(system: str, word: str) -> None:
    (problem,) = device.why_no_gpu(CUDA_BUILD, system=system)
    assert word in f"{problem.cause} {problem.remedy}"


def test_describe_is_json_and_keeps_secrets_of_other_tools_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_VAR_password", "secret")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=0")
    facts = device.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert [facts[name] for name in ("tensorflow", "keras", "numpy")] == [
        version(name) for name in ("tensorflow", "keras", "numpy")
    ]
    assert facts["environment"]["TF_XLA_FLAGS"] == "--tf_xla_auto_jit=0"
    assert "TF_VAR_password" not in facts["environment"]
    assert 1 <= facts["cores"] <= os.cpu_count()


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_that_of_this_checkout_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    assert device.git_commit(tmp_path) is None
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "--message=first")
    commit = git("rev-parse", "HEAD")
    assert device.git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("b")
    assert device.git_commit(tmp_path) == f"{commit}-dirty"
    (tmp_path / "installed").mkdir()
    assert device.git_commit(tmp_path / "installed") is None


def test_without_a_gpu_asking_for_one_is_one_line_with_cause_and_remedy() -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match=r"^--device gpu: .+; .+; python -m runners.doctor tells more$"):
        device.choose("gpu")


def test_a_gpu_already_in_use_can_be_chosen_again_and_computes() -> None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a GPU that TensorFlow can start")
    code = """
import tensorflow as tf
from mnist_core.device import choose
early = choose("gpu", "float32")
with tf.device(early.name):
    print(tf.ones(3).device[-5:])
print(choose("gpu", "float32") == early, choose("cpu").note)
"""
    assert python(code).startswith("GPU:0\nTrue GPUs stay visible")
