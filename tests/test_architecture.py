"""The house keeps its shape: who imports whom, how long things are, what lies at the top."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("mnist_core", "runners", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
PACKAGE = [path for path in CODE if path.is_relative_to(ROOT / "mnist_core")]
TOP = {
    "README.md",
    "LICENSE",
    "setup.cfg",
    "mnist_core",
    "runners",
    "benchmarks",
    "tests",
    "logs",
    "pyproject.toml",
    "constraints.txt",
    "Makefile",
    ".ci",
    ".gitignore",
}
SLOW = ("tensorflow", "keras")
# Where TensorFlow must not be imported before it is needed, so that --help answers at once.
QUICK = ("config", "recipes", "errors", "files", "cli", "imports", "runs", "commands")


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported anywhere below, a module's members as well as itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_once(tree: ast.Module) -> Iterator[str]:
    """What importing the module imports: not what functions do, nor what is for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        if isinstance(node, functions):
            continue
        for part in ast.walk(node):
            if isinstance(part, functions):
                part.body = []
        yield from imports(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    """Which of the modules import one of the packages, or something from it."""
    return [
        f"{name_of(path)} imports {name}"
        for path in paths
        for name in imports(parse(path))
        if any(name == package or name.startswith(package + ".") for package in forbidden)
    ]


def of(*packages: str) -> list[Path]:
    """The modules of these subpackages or modules of mnist_core."""
    names = tuple(f"mnist_core.{package}" for package in packages)
    return [path for path in PACKAGE if any(f"{name_of(path)}.".startswith(f"{name}.") for name in names)]


def but(*packages: str) -> list[Path]:
    """The modules of mnist_core outside of these."""
    inside = set(of(*packages))
    return [path for path in PACKAGE if path not in inside]


def test_the_parts_looked_at_are_there() -> None:
    assert len(PACKAGE) > 30
    for package in ("loop", "data", "reporting", "commands", "config", "models", "reporting.figures"):
        assert of(package), package


def test_the_package_stands_without_runners_and_benchmarks() -> None:
    assert not offenders(PACKAGE, "runners", "benchmarks", "tests")


def test_data_flows_from_data_through_the_loop_to_reporting() -> None:
    core = "mnist_core."
    above_data = [
        core + part
        for part in ("loop", "reporting", "vision", "commands", "models", "runs", "imports", "cli")
    ]
    assert not offenders(of("data"), *above_data)
    above_loop = [core + part for part in ("reporting", "vision", "commands", "runs", "imports", "cli")]
    assert not offenders(
        of("loop", "models", "randomness", "metrics"), *above_loop, "matplotlib", "cv2", "tqdm"
    )
    assert not offenders(of("reporting"), core + "vision", core + "commands", core + "cli")
    assert not offenders(of("vision"), core + "reporting", core + "commands")
    assert not offenders(but("commands", "cli"), core + "commands")
    assert not offenders(of("config", "errors", "files"), core + "loop", core + "data", core + "models")


def test_opencv_is_for_vision_alone() -> None:
    assert not offenders(but("vision"), "cv2")


def test_the_web_framework_is_for_the_web_alone() -> None:
    assert not offenders(but("web"), "fastapi", "starlette", "uvicorn")
    assert not offenders(but("web", "commands.serve"), "mnist_core.web")
    assert not offenders(of("web"), "mnist_core.reporting", "mnist_core.commands", "mnist_core.cli")


def test_matplotlib_is_for_the_figures_alone_and_has_no_global_state() -> None:
    assert not offenders(but("reporting.figures"), "matplotlib")
    assert not offenders(CODE, "matplotlib.pyplot", "pylab")


@pytest.mark.parametrize("path", of(*QUICK), ids=name_of)
def test_tensorflow_waits_until_it_is_needed(path: Path) -> None:
    names = list(imports_at_once(parse(path)))
    assert not [name for name in names if name.split(".")[0] in SLOW]


def test_no_command_imports_tensorflow_when_it_is_imported() -> None:
    modules = [*map(name_of, of(*QUICK)), "mnist_core", "mnist_core.metrics", "mnist_core.loop.checkpoint"]
    code = f"import {', '.join(modules)}, sys; print(*sorted({set(SLOW)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_files_and_functions_are_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(parse(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


def test_the_top_level_holds_what_the_design_names() -> None:
    # What a user leaves beside them is not looked at.
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("only git knows which files are the project's")
    found = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert found <= TOP
    assert {"README.md", "LICENSE", "setup.cfg", "mnist_core", "runners", "tests"} <= found
