"""python -m tests.fuzz, as CONTRIBUTING.md has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.live.processes import python_environment


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What it prints, and its exit code."""
    command = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=python_environment(folder), capture_output=True, text=True)


def test_runs(tmp_path: Path) -> None:
    """It makes as many inputs as it is told, says how fast and in how much memory, and ends with 0."""
    done = run(tmp_path, "framing", "--runs", "2000")
    assert done.returncode == 0, done.stderr
    line = r"framing: 2000 runs, \d+ a second, at most \d+ MiB resident, [+-]\d+\.\d MiB since a tenth of the runs\n"
    assert re.fullmatch(line, done.stdout)
    assert [*tmp_path.iterdir()] == []


def test_replay(tmp_path: Path) -> None:
    """An input that was kept is run again by its file; one that fails shows where."""
    files = sorted(TARGETS["core"].folder.iterdir())[:2]
    done = run(tmp_path, "core", "--replay", *files)
    assert (done.returncode, done.stdout) == (0, "".join(f"{file}: fine\n" for file in files)), done.stderr


def test_unknown(tmp_path: Path) -> None:
    """A target that is none is refused, with the names of those that there are."""
    done = run(tmp_path, "fuzzy")
    assert done.returncode == 2
    assert ", ".join(TARGETS) in " ".join(done.stderr.split())


def test_finding(tmp_path: Path) -> None:
    """What is found ends the run with 1; its input is saved, and a command is printed that repeats it."""
    program = (
        "import sys; from tests.fuzz import framing, __main__;"
        "framing.LineSplitter._is_too_long = lambda self, line: False;"
        "sys.argv[1:] = ['framing', '--runs', '100000']; sys.exit(__main__.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=python_environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    found = re.search("To replay it: python -m tests.fuzz framing --replay (.+)", done.stdout)
    assert found is not None, done.stdout
    assert (tmp_path / found[1]).exists()
    assert run(tmp_path, "framing", "--replay", found[1]).returncode == 0
