"""The benchmark of tests/bench, so small that it may be a test: nothing is lost, and everything is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--peers", "3", "--rounds", "1", "--messages", "600"]


def test_bench(tmp_path: Path) -> None:
    """Some scenarios, of ours and of the bare relay: a table for each is printed, and the figures are written."""
    file = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.bench", *SMALL, "--json", str(file), "--folder", str(tmp_path)]
    command += ["--scenarios", "latency", "all", "late"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    played = {(row["scenario"], row["system"]) for row in rows}
    assert played == {("latency", "bare"), ("latency", "ours"), ("all", "bare"), ("all", "ours"), ("late", "ours")}
    for row in rows:
        assert row.get("lost", 0) == row.get("wrong", 0) == 0
        assert f"**{row['scenario']}**" in done.stdout
        assert all(row[name] > 0 for name in ("cpu_us", "p50_ms", "wire") if name in row)
    assert {row["scenario"] for row in rows if row.get("p99_ms", 0) >= row.get("p50_ms", 1)} == {"latency"}


def test_compare(tmp_path: Path) -> None:
    """Two files that were written before are set side by side: figure by figure, round by round."""
    rows = [{"round": n, "scenario": "one", "system": "ours", "cpu_us": 2.0 + n} for n in range(3)]
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for file, times in zip(files, (1, 2), strict=True):
        file.write_text(json.dumps({"rows": [{**row, "cpu_us": row["cpu_us"] * times} for row in rows]}))
    command = [sys.executable, "-m", "tests.bench", "--compare", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("| 3 | 6 | 2.000 | 2.000 to 2.000 |")


def test_growth() -> None:
    """The simulator's table of cost against size: a broadcast has one payload frame a delivery."""
    command = [sys.executable, "-m", "tests.bench.growth", "--peers", "12", "--known", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[2].strip("|").split("|")]
    assert cells[:2] == ["12", "11"]
    assert float(cells[5]) == 1.0
