"""The latencies are measured, on ways that give the same probabilities."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_way_to_ask_has_its_latency(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    command = [sys.executable, "-m", "benchmarks.inference", "--quick", "--model", "mlp", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert set(result["batch_sizes"]) == {"1", "64"}
    for rows in result["batch_sizes"].values():
        assert set(rows) == {"ours", "model(x)", "model.predict", "SavedModel"}
        for row in rows.values():
            p50, p95, p99 = (row[f"latency_us_{name}"]["median"] for name in ("p50", "p95", "p99"))
            assert 0 < p50 <= p95 <= p99
