"""Cost against size, in the simulator: frames and bytes of a peer that idles, of a delivery, and of a join.

    python -m tests.bench.growth [--peers 100 1000] [--known 0 35] [--part 1] [--json FILE] [--plot FILE]

`--known`: of how many others each knows (`max_known`); 0: of all, for which the memory of the simulator bounds the
size: it holds everybody's directory. `--part`: of the time, messages and joins over which cost is taken, for large
sizes: to simulate a second of 10,000 peers takes half a minute. The core and its bytes are the shipped ones; TLS and
TCP would add theirs. What a delivery or a join costs is what was written while it happened, less what an idle network
writes in that time. It is the same in every run with one seed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from tests.bench.report import figure, write
from twisted_p2p.core.actions import Write
from twisted_p2p.core.config import LAN
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.world import GARBAGE_THRESHOLD, World

JOINING = 0.01
"""Seconds from one join to the next."""
SETTLING, IDLE, SPREADING = 60.0, 60.0, 5.0
"""Seconds: after the last join, over which idle cost is taken, and after a message or a join."""
MESSAGES, JOINS = 50, 12
"""Over so many the cost of one is taken, one after the other."""
TITLES = {
    "peers": "peers",
    "known": "know",
    "idle_frames": "idle: frames a second",
    "idle_bytes": "bytes a second",
    "idle_most": "mostly",
    "payload": "a delivery: payload frames",
    "control": "other frames",
    "delivery_bytes": "bytes",
    "join_frames": "a join: frames a peer",
    "join_bytes": "bytes a peer",
    "directory_bytes": "bytes of directory",
}

Row = dict[str, Any]


@attrs.define(eq=False)
class Meter:
    """Frames and bytes written, by title."""

    frames: Counter[str] = attrs.field(factory=Counter)
    bytes: Counter[str] = attrs.field(factory=Counter)

    def wrote(self, action: Write) -> None:
        """A turn's lines for one link."""
        for line in action.lines:
            title = line[10 : line.index(b'"', 10)].decode()
            self.frames[title] += 1
            self.bytes[title] += len(line) + 1

    def taken(self) -> Meter:
        """What was written since this was last called."""
        found = Meter(self.frames, self.bytes)
        self.frames, self.bytes = Counter(), Counter()
        return found


def measure(peers: int, known: int, seed: int = 0, part: float = 1.0) -> Row:
    """A network of so many peers that know of so many, over a part of the usual time."""
    meter = Meter()
    world = World(seed, attrs.evolve(LAN, max_known=known) if known else LAN)
    world.genesis()
    for _ in range(peers - 1):
        world.run(JOINING)
        world.newcomer()
    world.run(SETTLING * part)
    world.on_write = meter.wrote
    world.run(IDLE * part)
    idle, seconds = meter.taken(), IDLE * part
    frames, size = (counter.total() / seconds / peers for counter in (idle.frames, idle.bytes))
    row: Row = {"peers": peers, "known": known or peers - 1, "idle_frames": frames, "idle_bytes": size}
    row["idle_most"] = ", ".join(
        f"{title} {count / seconds / peers:.2f}" for title, count in idle.frames.most_common(3)
    )
    row["idle_titles"] = {title: [idle.frames[title], idle.bytes[title]] for title in idle.frames}

    messages, joins = max(2, round(MESSAGES * part)), max(1, round(JOINS * part))
    for _ in range(messages // 2):
        say([world.peers[1]], text="x" * 100)
        world.run(0.5)
    world.run(SPREADING)
    meter.taken()
    for _ in range(messages):
        say([world.peers[1]], text="x" * 100)
        world.run(0.5)
    spread = meter.taken()
    deliveries, spreading = messages * (peers - 1), messages * 0.5
    row["payload"] = spread.frames["#BROADCAST"] / deliveries
    others = spread.frames.total() - spread.frames["#BROADCAST"]
    row["control"] = (others - frames * peers * spreading) / deliveries
    row["delivery_bytes"] = (spread.bytes.total() - size * peers * spreading) / deliveries

    world.run(SPREADING)
    meter.taken()
    for _ in range(joins):
        world.newcomer()
        world.run(SPREADING)
    joined, pages = meter.taken(), "#NODES_IN_NETWORK"
    row["directory_bytes"] = (joined.bytes[pages] - idle.bytes[pages] / seconds * joins * SPREADING) / joins
    rest = joined.bytes.total() / joins - row["directory_bytes"]
    present = peers + joins / 2
    row["join_frames"] = joined.frames.total() / joins / present - frames * SPREADING
    row["join_bytes"] = rest / present - size * SPREADING
    return row


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = ["| " + " | ".join(TITLES.values()) + " |", "|---" * len(TITLES) + "|"]
    for row in rows:
        cells = (row[name] if isinstance(row[name], str) else figure(row[name]) for name in TITLES)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Bytes against the number of peers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(1, 3, figsize=(12, 4))
    names = {
        "idle_bytes": "idle: bytes a second",
        "delivery_bytes": "a delivery: bytes",
        "join_bytes": "a join: bytes a peer",
    }
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        for all_known in (True, False):
            mine = [row for row in rows if (row["known"] == row["peers"] - 1) == all_known]
            if mine:
                label = "each knows all" if all_known else "each knows a sample"
                axis.semilogx([row["peers"] for row in mine], [row[name] for row in mine], "o-", label=label)
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
        axis.set_title(title)
        axis.set_xlabel("peers")
        axis.legend()
    drawing.tight_layout()
    drawing.savefig(path)
    pyplot.close(drawing)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--known", type=int, nargs="+", default=[0, 35])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--write", metavar="FILE:MARK", help="put the table between these marks of a document")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    for known in options.known:
        for peers in options.peers:
            begin = time.monotonic()
            rows.append(measure(peers, known, options.seed, options.part))
            print(
                f"{peers} peers, {known or 'all'} known: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True
            )
    print(table(rows))
    if options.write:
        write(options.write, table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows))
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    gc.set_threshold(GARBAGE_THRESHOLD)
    main()
