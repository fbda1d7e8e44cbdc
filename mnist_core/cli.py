"""What the commands share: parsing, one-line failures, exit codes, results on stdout."""

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import os
import signal
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from mnist_core import __version__
from mnist_core.config import Config, read_toml
from mnist_core.errors import InterruptedRunError, MnistCoreError, UsageError, discard, warn
from mnist_core.recipes import recipe
from mnist_core.settings import flag

COMMANDS = ("train", "evaluate", "predict", "live", "serve", "plot", "export", "doctor")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command found: ``data`` for ``--json``, ``text`` for people, ``error`` to end with."""

    data: dict[str, Any]
    text: str
    error: MnistCoreError | None = None


class Command(Protocol):
    """A module of `mnist_core.commands`: its docstring is the help text."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the flags, without importing TensorFlow."""

    def main(self, args: argparse.Namespace) -> Answer:
        """Does the work."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def run(name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> NoReturn:
    """Runs one command and exits with its code. Logs go to stderr, the result to stdout."""
    prog = prog or f"python -m runners.{name}"
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may hold what a terminal can't show.
        sys.stdout.reconfigure(errors="backslashreplace")
    with _exit_codes(prog):
        print_answer, args, main = _prepare(name, argv, prog)
        answer = main(args)
        print_answer(answer)
        if answer.error:
            raise answer.error
    sys.exit(0)


def console(argv: Sequence[str] | None = None) -> NoReturn:
    """The ``mnist-core`` console script: the runners as subcommands."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog="mnist-core", description="Train, test and use a network on handwritten digits.")
    parser.add_argument("--version", action="version", version=f"mnist-core {__version__}")
    parser.add_argument("command", choices=COMMANDS, help="see mnist-core COMMAND --help")
    with _exit_codes("mnist-core"):
        name = parser.parse_args(argv[:1]).command
    run(name, argv[1:], prog=f"mnist-core {name}")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every field of `Config`; the ones not given are absent from the namespace."""
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        name = field.metadata["group"]
        group = groups.setdefault(name, None) or parser.add_argument_group(name)
        groups[name] = group
        _add_field(group, field)
    groups["run"].add_argument(
        "--config", metavar="FILE.toml", help="settings between the recipe's and the flags'"
    )


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The `Config` fields that recipe, TOML file and flags set, later ones winning."""
    flags = {
        field.name: getattr(args, field.name) for field in dataclasses.fields(Config) if field.name in args
    }
    table = {} if args.config is None else read_toml(Path(args.config))
    given = {**table, **flags}
    name = given.pop("recipe", None)
    return given if name is None else recipe(name, **given)


def add_run_argument(parser: argparse.ArgumentParser, *, shipped: bool = True) -> None:
    """Adds ``--run`` and ``--log-dir``, which say what trained network to use.

    Args:
      shipped: the weights that come with the package stand in where there is no run.
    """
    otherwise = ", else the shipped weights" if shipped else ""
    parser.add_argument(
        "--run", metavar="RUN", help=f"run directory (default: the newest finished one{otherwise})"
    )
    parser.add_argument("--log-dir", default="logs", help="folder of the runs (default: %(default)s)")


def add_engine_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--engine``, which says what computes a predictor's answers."""
    parser.add_argument(
        "--engine",
        choices=("tensorflow", "litert", "onnx"),
        default="tensorflow",
        help="what computes; litert is quicker for single digits, onnx for many in float32, with the extras "
        "[litert] and [onnx] (default: %(default)s)",
    )


def _prepare(name: str, argv: Sequence[str] | None, prog: str) -> tuple[Any, argparse.Namespace, Any]:
    command: Command = importlib.import_module(f"mnist_core.commands.{name}")
    parser = Parser(
        prog=prog,
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Else `train --run X` would be taken as --run-name X.
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    args = parser.parse_args(argv)

    def print_answer(answer: Answer) -> None:
        # Its reader, such as `head`, may have seen enough.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(answer.data) if args.json else answer.text, flush=True)

    return print_answer, args, command.main


def _add_field(group: Any, field: dataclasses.Field) -> None:
    names = [flag(field.name)]
    if "_" in field.name:
        names.append("--" + field.name)
    kinds = [kind for kind in (typing.get_args(field.type) or (field.type,)) if kind is not type(None)]
    shown = "none" if field.default is None else repr(field.default) if field.default == "" else field.default
    options: dict[str, Any] = {
        "help": f"{field.metadata['help']} (default: {shown})",
        "default": argparse.SUPPRESS,
    }
    if kinds[0] is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"type": kinds[0], "metavar": field.name.rsplit("_", 1)[-1].upper()}
        choices = field.metadata["choices"]
        if choices:
            options["metavar"] = "{" + ",".join(choices) + "}"
            options["choices"] = choices
    # argparse expands %, which a help text may hold.
    options["help"] = options["help"].replace("%", "%%")
    group.add_argument(*names, **options)


@contextlib.contextmanager
def _exit_codes(prog: str) -> Iterator[None]:
    """Ends the program with one line and the failure's code when a failure comes up that was expected."""
    _open_stderr()
    try:
        yield
    except MnistCoreError as error:
        _leave(prog, str(error), error.exit_code)
    except (KeyboardInterrupt, ImportError) as error:
        if _is_interrupt(error):
            _leave(prog, "interrupted; nothing was left to save", InterruptedRunError.exit_code)
        if not isinstance(error, ModuleNotFoundError):
            raise
        _leave(
            prog,
            f"{error.name} is not installed for {sys.executable}; activate the environment of the project (. "
            ".venv/bin/activate), or install it: pip install -c constraints.txt -e .",
            UsageError.exit_code,
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _leave(prog, f"{where}{error.strerror or error}; free space or mend the folder, then run again", 1)
    finally:
        _flush_stdout()


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the root: an extension that it stops while it loads makes an ImportError of it."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _open_stderr() -> None:
    """Opens stderr to nowhere where it was closed: the next file opened would get what TensorFlow logs."""
    if sys.stderr is None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        if nowhere != 2:
            os.close(nowhere)
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _flush_stdout() -> None:
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def _leave(prog: str, message: str, code: int) -> NoReturn:
    if code == InterruptedRunError.exit_code:
        # One more Ctrl-C would end Python's own way out with a traceback or another code.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warn(f"{prog}: error: {' '.join(message.split())}")
    sys.exit(code)
