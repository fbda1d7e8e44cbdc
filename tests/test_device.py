"""Tests of `mnist_core.device`, mostly on two GPUs that TensorFlow can list, but not start."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mnist_core import device, environment
from mnist_core.diagnosis import CUDA_12_LIBRARIES
from mnist_core.errors import UsageError
from tests.invoke import spawn

# As much of NVIDIA's driver as TensorFlow asks before it lists a GPU: two GPUs of 80 GiB, capability 9.0.
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *handle, int number) { *handle = number; return 0; }
int cuDeviceTotalMem_v2(size_t *size, int handle) { *size = 80ul << 30; return 0; }
int cuDeviceGetName(char *name, int length, int handle) { strncpy(name, "Paper GPU", length); return 0; }
int cuDeviceGetPCIBusId(char *id, int length, int handle) { strncpy(id, "0000:01:00.0", length); return 0; }
int cuDeviceGetAttribute(int *value, int what, int handle) { *value = what == 75 ? 9 : 0; return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
"""
# What one process sees that chooses again and again, before and after TensorFlow has computed.
SEQUENCE = """
import dataclasses, json, sys
from pathlib import Path
sys.modules["keras"] = None  # TensorFlow starts in half the time without it.
import tensorflow as tf
from mnist_core import device, environment
from mnist_core.errors import DeviceError

def choose(*arguments, **options):
    try:
        return dataclasses.asdict(device.choose(*arguments, **options))
    except DeviceError as error:
        return {"error": str(error)}

gpus = tf.config.list_physical_devices("GPU")
seen = {"facts": environment.describe(), "gpu:2": choose("gpu:2"), "auto": choose()}
seen["growth"] = [tf.config.experimental.get_memory_growth(gpu) for gpu in gpus]
seen["gpu:1"] = choose("gpu:1", "float32")
seen["cpu"] = choose("cpu")
seen["visible"] = len(tf.config.get_visible_devices("GPU"))
seen["auto after cpu"] = choose()
seen["gpu after cpu"] = choose("gpu")
choose("cpu", deterministic=True)
with tf.device("/CPU:0"):
    seen["sum"] = float(tf.reduce_sum(tf.ones(3)))
seen["late"] = [choose(name) for name in ("cpu", "auto", "cpu", "auto", "gpu")]
try:
    tf.random.normal([1])
except RuntimeError as error:
    seen["unseeded"] = str(error)
seen["float16"] = choose("cpu", "mixed_float16")
for cpu in sys.argv[1:]:
    environment.CPUINFO = Path(cpu)
    seen[environment.CPUINFO.name] = {**environment.describe(), **choose("cpu")}
print(json.dumps(seen))
"""
CPU = "model name\t: Abacus 9:  fast  \nflags\t\t: fpu avx2 amx_bf16_not {}\n\n"


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What SEQUENCE sees; with two GPUs where they can be faked."""
    folder = tmp_path_factory.mktemp("linked")
    if sys.platform == "linux" and shutil.which("gcc"):
        driver = folder / "libcuda.so.1"
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(driver)]
        subprocess.run(command, input=DRIVER, text=True, check=True)
        for name in ("libnvidia-ml.so.1", *CUDA_12_LIBRARIES):
            shutil.copy(driver, folder / name)
    for flag in ("avx512_bf16", "amx_bf16", "fma"):
        (folder / flag).write_text(
            CPU.format(flag) + CPU.format("avx512_bf16 fma").replace("Abacus", "Other")
        )
    cpus = [folder / name for name in ("avx512_bf16", "amx_bf16", "fma", "absent")]
    variables = {"TF_XLA_FLAGS": "--tf_xla_auto_jit=0", "TF_VAR_password": "secret"}
    variables |= {
        "LD_LIBRARY_PATH": str(folder),
        "CUDA_VISIBLE_DEVICES": "0,1",
        "KERAS_BACKEND": "tensorflow",
    }
    done = spawn("-c", SEQUENCE, *cpus, **variables)
    assert done.code == 0, done.stderr
    return done.json()


@pytest.fixture
def with_gpus(seen: dict) -> dict:
    if [gpu["name"] for gpu in seen["facts"]["gpus"]] != ["Paper GPU"] * 2:
        pytest.skip("needs Linux, gcc, and a TensorFlow that asks no more of a driver than the test's has")
    return seen


@pytest.mark.parametrize("name", ["", "tpu", "GPU", "gpu:", "gpu:-1", "gpu:x", "gpu:0 "])
def test_a_malformed_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device must be .* not '{name}'"):
        device.choose(name)


def test_an_unknown_precision_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"--precision must be .* not 'bf16'"):
        device.choose("cpu", "bf16")


def test_another_keras_backend_is_refused_before_tensorflow_is_imported() -> None:
    code = """
import sys
from mnist_core.device import choose
try:
    choose()
except Exception as error:
    print(type(error).__name__, error, "tensorflow" in sys.modules)
"""
    message = "KERAS_BACKEND is jax, but this training loop is TensorFlow's; set KERAS_BACKEND=tensorflow"
    assert spawn("-c", code, KERAS_BACKEND="jax").stdout.strip() == f"UsageError {message} False"


def test_a_gpu_gets_growth_and_the_precision_of_its_capability(with_gpus: dict) -> None:
    auto, second = with_gpus["auto"], with_gpus["gpu:1"]
    assert (auto["name"], auto["kind"], auto["precision"]) == ("/GPU:0", "gpu", "mixed_bfloat16")
    assert auto["description"] == "Paper GPU, 80 GiB"
    assert with_gpus["growth"] == [True, True]
    assert (second["name"], second["precision"]) == ("/GPU:1", "float32")


def test_a_gpu_number_out_of_range_is_one_line(with_gpus: dict) -> None:
    line = "--device gpu:2: TensorFlow sees 2 GPU(s), the first is gpu:0; python -m runners.doctor tells more"
    assert with_gpus["gpu:2"] == {"error": line}


def test_cpu_hides_the_gpus_until_a_gpu_is_asked_for(with_gpus: dict) -> None:
    assert (with_gpus["cpu"]["name"], with_gpus["visible"]) == ("/CPU:0", 0)
    assert with_gpus["auto after cpu"]["kind"] == "cpu"
    assert "this program has hidden the GPUs" in with_gpus["auto after cpu"]["note"]
    assert with_gpus["gpu after cpu"]["name"] == "/GPU:0"


def test_once_tensorflow_computes_on_the_cpu_only_a_gpu_is_refused(with_gpus: dict) -> None:
    cpu, auto, (*late, refused) = with_gpus["cpu"], with_gpus["auto after cpu"], with_gpus["late"]
    assert (with_gpus["sum"], late) == (3, [cpu, auto, cpu, auto])
    assert refused["error"].endswith("GPUs were hidden when TensorFlow started; start the program anew")


def test_deterministic_refuses_unseeded_randomness(seen: dict) -> None:
    assert "determinism" in seen["unseeded"]


def test_float16_on_a_cpu_is_taken_and_called_slow(seen: dict) -> None:
    told = seen["float16"]["precision"], seen["float16"]["note"]
    assert told == ("mixed_float16", "mixed_float16 is slow on this CPU")


@pytest.mark.parametrize(
    ("flag", "precision"),
    [("avx512_bf16", "mixed_bfloat16"), ("amx_bf16", "mixed_bfloat16"), ("fma", "float32")],
)
def test_auto_is_bfloat16_exactly_where_the_first_core_has_it(flag: str, precision: str, seen: dict) -> None:
    assert seen[flag]["cpu_features"] == sorted(["avx2", flag], key=environment.CPU_FEATURES.index)
    assert seen[flag]["precision"] == precision
    assert seen["absent"]["cpu_features"] == []


def test_a_cpu_is_described_by_its_model_and_cores(seen: dict) -> None:
    cores = seen["facts"]["cores"]
    assert 1 <= cores <= os.cpu_count()
    assert seen["fma"]["cpu"] == "Abacus 9: fast"
    assert seen["fma"]["description"] == f"Abacus 9: fast, {cores} core{'s' if cores > 1 else ''}"


def test_describe_tells_versions_and_keeps_secrets_of_other_tools_out(seen: dict) -> None:
    facts, names = seen["facts"], ("tensorflow", "keras", "numpy")
    assert [facts[name] for name in names] == [version(name) for name in names]
    assert facts["environment"]["TF_XLA_FLAGS"] == "--tf_xla_auto_jit=0"
    assert "TF_VAR_password" not in facts["environment"]


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_that_of_this_checkout_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.check_output(["git", *who, *arguments], cwd=tmp_path, text=True).strip()

    git("init", "--quiet")
    assert environment.git_commit(tmp_path) is None
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "--message=first")
    commit = git("rev-parse", "HEAD")
    assert environment.git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("b")
    assert environment.git_commit(tmp_path) == f"{commit}-dirty"
    (tmp_path / "installed").mkdir()
    assert environment.git_commit(tmp_path / "installed") is None


@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="needs a GPU that TensorFlow can start")
def test_a_gpu_already_in_use_can_be_chosen_again_and_computes() -> None:
    code = """
import tensorflow as tf
from mnist_core.device import choose
early = choose("gpu", "float32")
with tf.device(early.name):
    print(tf.ones(3).device[-5:])
print(choose("gpu", "float32") == early, choose("cpu").note)
"""
    assert spawn("-c", code).stdout.startswith("GPU:0\nTrue GPUs stay visible")
