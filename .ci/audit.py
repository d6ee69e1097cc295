"""Asks pip-audit whether what is installed is known to have holes: exit code 1 if so.

Where no database of holes can be reached nothing is audited, which is said, and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = ("-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable")
ACCEPTED: dict[str, str] = {}
"""Ids of holes that do not concern us, each with the reason."""
TIMEOUT = 300


def judge(report: str) -> tuple[list[str], int]:
    """(the holes that are found and not accepted, how many packages were audited), from pip-audit's report."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], 0
    audited = [package for package in packages if "vulns" in package]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        for package in audited
        for hole in package["vulns"]
        if ACCEPTED.keys().isdisjoint([hole["id"], *hole.get("aliases", ())])
    ]
    return holes, len(audited)


def main() -> int:
    """The exit code."""
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=TIMEOUT)
        report = done.stdout
    except subprocess.TimeoutExpired:
        report = ""
    holes, audited = judge(report)
    for hole in holes:
        print(f"pip-audit: {hole}")
    if not audited:
        print("pip-audit: NOTHING WAS AUDITED, no database of holes could be reached from here.")
    else:
        print(f"pip-audit: {audited} packages audited, {len(holes)} holes.")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
