"""The load is carried without a failure, and the figures are those of the answers."""

import json
import sys
from pathlib import Path

import pytest

from tests.invoke import spawn

pytest.importorskip("fastapi", reason="needs FastAPI: pip install -e .[web]")


def test_many_clients_are_answered_and_their_pictures_read_together(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    done = spawn("-m", "benchmarks.serve", "--quick", "--run", whole, "--json", path)
    assert done.code == 0, done.stderr
    result = json.loads(path.read_text())
    assert set(result["clients"]) == {"64", "1"}
    for row in result["clients"].values():
        assert set(row["statuses"]) <= {"200", "503"}
        assert row["pictures_per_second"]["median"] > 0
        assert row["p50_ms"]["median"] <= row["p95_ms"]["median"] <= row["p99_ms"]["median"]
    assert result["clients"]["1"]["pictures_per_network_call"]["median"] == 1
    assert result["clients"]["64"]["pictures_per_network_call"]["median"] > 1
    if sys.platform == "linux":
        assert min(result["server_resident_mib"]) > 50
