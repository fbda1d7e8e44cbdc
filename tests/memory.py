"""What is in memory, for tests that nothing large stays there: no test."""

from pathlib import Path

import pytest


def mapped_bytes() -> int:
    """Resident memory of this process that belongs to mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux's /proc to tell what is in memory")
    lines = status.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))
