"""What a benchmark reads off the machine: CPU, memory, bytes on loopback. Linux only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_INSIDE = "BENCH_ALONE"


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in the kernel as well, in steps of its clock (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB of proportional set size: what it shares with others counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss in smaps_rollup")


def loopback_bytes() -> int:
    """Bytes sent over loopback since this network namespace began, headers and acknowledgements with them."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    raise ValueError("no loopback")


def machine() -> str:
    """What was measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, Python {sys.version.split()[0]}, Linux {os.uname().release}"


def be_alone() -> bool:
    """Run this program again where nobody else uses loopback, if the system lets us; whether we are there."""
    if _INSIDE in os.environ:
        return True
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    os.environ[_INSIDE] = "1"
    os.execvp(command[0], [*command, *sys.orig_argv])
