"""That a file appears whole or not at all, whatever ends the writing."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_core.files import atomic_write, expanded, write_json
from tests.invoke import disk


@pytest.fixture(params=[True, False], ids=["there before", "new"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file, or the name of one."""
    path = tmp_path / "here" / "file.bin"
    path.parent.mkdir()
    if request.param:
        path.write_bytes(b"before")
    return path


def content(path: Path) -> bytes | None:
    """What a file holds; there must be no other in its folder."""
    assert [other.name for other in path.parent.iterdir() if other != path] == []
    return path.read_bytes() if path.exists() else None


def test_a_block_that_ends_well_leaves_the_new_content(path):
    with atomic_write(path) as file:
        file.write(b"after")
    assert content(path) == b"after"


def test_until_then_readers_see_the_old_content(path):
    before = content(path)
    with atomic_write(path) as file:
        file.write(b"after")
        file.flush()
        assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_what_was_there(path, error):
    before = content(path)
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half")
        raise error
    assert content(path) == before


def test_a_full_disk_leaves_what_was_there_and_the_error_names_the_file(tmp_path):
    with disk(tmp_path / "disk", "size=16k") as folder:
        path = folder / "file.bin"
        path.write_bytes(b"before")
        with pytest.raises(OSError, match="No space") as raised, atomic_write(path) as file:
            file.write(bytes(100_000))
        assert raised.value.errno == errno.ENOSPC
        assert raised.value.filename == str(path)
        assert content(path) == b"before"


def test_a_killed_process_leaves_what_was_there(path):
    before = content(path)
    script = (
        "import sys, time; from mnist_core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(bytes(100_000)); file.flush(); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert (path.read_bytes() if path.exists() else None) == before
    assert all(other.name.endswith(".partial") for other in path.parent.iterdir() if other != path)


def test_the_file_has_the_permissions_of_any_new_file(path):
    before = os.umask(0o027)
    try:
        with atomic_write(path) as file:
            file.write(b"after")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "absent" / "file.bin"):
        pass


def test_json_is_written_as_readable_text_that_reads_back(path):
    value = {"name": "é", "numbers": [1, 2.5, None]}
    write_json(path, value)
    text = content(path).decode()
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert text.count("\n") > 3


def test_what_json_cannot_hold_leaves_what_was_there(path):
    before = content(path)
    with pytest.raises(TypeError):
        write_json(path, {"folder": Path()})
    assert content(path) == before


def test_a_home_that_is_not_there_stays_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/.cache") == Path("/somewhere/.cache")
    assert expanded("~no_such_user/.cache") == Path("~no_such_user/.cache")
