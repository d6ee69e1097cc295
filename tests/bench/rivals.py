"""Other peer-to-peer systems and a broker, at the same work beside us, in one table.

    python -m tests.bench.rivals --drivers DIR --home DIR [--rounds 3] [--peers 8] [--write docs/performance.md:rivals]
    python -m tests.bench.rivals --results DIR [--write docs/performance.md:rivals]

DRIVERS is the folder with `run.py` and a driver for each system, HOME the one that their `setup.sh` has installed them
in. Each round plays all systems in turn; the figures are medians of the rounds. `--results` only makes the table again.
Root is needed, for a network of its own. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.meters import machine
from tests.bench.report import figure, write

ROOT = Path(__file__).resolve().parents[2]
OURS = "ours"
SYSTEMS = (OURS, "nats", "nats3", "p2pnetwork", "pyre", "iroh", "js-libp2p", "ipv8", "py-libp2p", "serf", "bare")
SCENARIOS = "single,many,latency,big"
ON = {OURS: "yes, yes, yes", "ipv8": "yes, no, no", "iroh": "no, yes, no"}
ON |= dict.fromkeys(("js-libp2p", "py-libp2p"), "yes, yes, no")
"""Whether messages are signed, encrypted, and kept; others: none of it."""
HEAD = (
    "system",
    "signed, encrypted, logged",
    "one publishes: a second · µs · spread · of ours",
    "all publish: a second · µs · spread · of ours",
    "p50 · p99 ms",
    "wire bytes",
    "MB a peer",
    "idle % a peer",
    "64 KiB a second",
    "join s",
)

Metrics = dict[str, list[dict[str, Any]]]


def run(options: argparse.Namespace) -> None:
    """Play all systems, round by round; the results go to a folder for each round."""
    driver = shlex.join([sys.executable, str(ROOT / "tests/bench/driver.py")])
    env = {**os.environ, "BENCH_HOME": str(options.home), "PYTHONPATH": str(options.drivers)}
    for number in range(options.rounds):
        subprocess.run(
            [
                *(sys.executable, str(options.drivers / "run.py"), "--n", str(options.peers), "--ours", driver),
                *("--out", str(options.results / str(number)), "--timeout", "300"),
                *("--args", f"--scenarios {SCENARIOS} --reps 1 {options.args}", *options.systems),
            ],
            env=env,
            check=True,
        )


def read(results: Path) -> dict[str, Metrics]:
    """What each system has said in all rounds, by metric."""
    found: dict[str, Metrics] = {}
    for file in sorted(results.glob("*/*.jsonl")):
        metrics = found.setdefault(file.name.rpartition("-n")[0], defaultdict(list))
        for line in file.read_text().splitlines():
            said = json.loads(line)
            metrics[said["metric"]].append(said)
    return found


def middle(metrics: Metrics, kind: str, name: str) -> float | None:
    """The median of all rounds."""
    values = [said[name] for said in metrics.get(kind, ()) if said.get(name) is not None]
    return median(values) if values else None


def _pair(metrics: Metrics, kind: str, *names: str) -> str:
    values = [middle(metrics, kind, name) for name in names]
    return " · ".join(figure(value) for value in values if value is not None) or "–"


def _load(metrics: Metrics, kind: str, ours: float | None) -> str:
    """At full speed, or at the highest rate at which nothing was lost."""
    costs = [said["cpu_per_m"] for said in metrics.get(kind, ())]
    if not costs:
        return "loses"
    text = _pair(metrics, kind, "per_s", "cpu_per_m") + f" · {(max(costs) - min(costs)) / median(costs) * 100:.0f} %"
    if ours:
        text += f" · {figure(median(costs) / ours)}"
    flood = [said for said in metrics.get(kind + "_lossy", ()) if not said["rate"]]
    if flood:
        text += f"; at full speed {median(f['lost'] / (f['got'] + f['lost']) for f in flood) * 100:.0f} % is lost"
    return text


def row(name: str, metrics: Metrics, ours: Metrics) -> list[str]:
    """The cells of a system."""
    peers = metrics["system"][0]["n"]
    idle = middle(metrics, "idle", "cpu_pct")
    big = middle(metrics, "big", "per_s")
    lost = sum(said["lost"] for said in metrics.get("big", ()))
    latency = metrics.get("latency", [])
    late = "" if all(said.get("complete") == said["messages"] for said in latency) else " of those that came"
    return [
        f"{metrics['system'][0]['name']}, {metrics['system'][0]['version']}",
        ON.get(name, "no, no, no"),
        *(_load(metrics, kind, middle(ours, kind, "cpu_per_m")) for kind in ("single", "many")),
        _pair(metrics, "latency", "p50", "p99") + late,
        _pair(metrics, "single", "wire_per"),
        _pair(metrics, "mem", "pss"),
        "–" if idle is None else f"{idle / peers:.2f}",
        "–" if not big else figure(big) + (", loses" if lost else ""),
        _pair(metrics, "join", "seconds"),
    ]


def table(found: dict[str, Metrics]) -> str:
    """All systems in Markdown, each with what its driver says of its version."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for name in sorted(found, key=lambda name: SYSTEMS.index(name) if name in SYSTEMS else len(SYSTEMS)):
        if found[name].get("system"):
            lines.append("| " + " | ".join(row(name, found[name], found.get(OURS, {}))) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure unless that was done before, and print or write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.rivals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drivers", type=Path, help="the folder with run.py")
    parser.add_argument("--home", type=Path, help="where the others are installed")
    parser.add_argument("--results", type=Path, help="for what was measured; new without --drivers: of an earlier run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--args", default="", help="more words for every driver")
    parser.add_argument("--write", metavar="FILE:MARK", help="put the table between these marks of a document")
    options = parser.parse_args()
    if options.drivers:
        options.results = options.results or options.home / "results"
        run(options)
    found = read(options.results)
    peers = found[OURS]["system"][0]["n"]
    text = f"{table(found)}\n{peers} peers, {machine()}."
    print(text)
    if options.write:
        write(options.write, text)


if __name__ == "__main__":
    main()
