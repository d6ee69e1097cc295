"""What the logs cost: CPU a bundle, time to open, bytes on disk, speed of reading.

    python tests/bench/log.py [--bundles 20000] [--open 100000 1000000] [--folder DIR] [--json]

A bundle holds one message of `--size` bytes, in a line as it travels. They come from eight peers in turn; each turn
keeps the positions, too, as a peer does. In the rows "full" the log has reached its number: for each bundle that comes
one goes. CPU is this process's; wall time has the waiting for the disk of `--folder`, too. `--open` fills a log with so
many bundles, closes it, and opens it again; "killed" is the same after a process that did not close it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs

from twisted_p2p.core.config import LAN
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.core.wire import bundle_line
from twisted_p2p.interfaces import Stream
from twisted_p2p.store.sqlitelog import SqliteLog

STREAMS: list[Stream] = [(f"{number:064x}", 1_700_000_000_000) for number in range(8)]
ENDLESS = attrs.evolve(LAN, retention_age=1e12, retention_count=1 << 50, retention_bytes=1 << 60)
CHUNK = 65_536


class Source:
    """Bundles from all streams in turn."""

    def __init__(self, size: int) -> None:
        group = {"id": "f" * 64, "time": 1617555967.12, "values": ["x" * size]}
        self.messages = json.dumps([group], separators=(",", ":")).encode()
        self.count = 0

    def line(self, stream: Stream, seq: int) -> bytes:
        """The line of one bundle."""
        return bundle_line(*stream, seq, "e" * 128, self.messages)

    def turn(self, log: Any, bundles: list[tuple[Stream, int, bytes]]) -> None:
        """Append them, with the positions, and commit."""
        for stream, seq, line in bundles:
            log.append(stream, seq, line, float(self.count))
            log.move(stream, seq + 1)
        log.commit()

    def next(self, count: int) -> list[tuple[Stream, int, bytes]]:
        """The bundles of the next turn."""
        found = []
        for number in range(self.count, self.count + count):
            stream, seq = STREAMS[number % len(STREAMS)], number // len(STREAMS) + 1
            found.append((stream, seq, self.line(stream, seq)))
        self.count += count
        return found


def cost(log: Any, source: Source, bundles: int, a_turn: int) -> tuple[float, float]:
    """(CPU, wall) microseconds a bundle."""
    turns = [source.next(a_turn) for _ in range(bundles // a_turn)]
    cpu, wall = time.process_time(), time.perf_counter()
    for turn in turns:
        source.turn(log, turn)
    count = len(turns) * a_turn / 1e6
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def costs(folder: Path, bundles: int, size: int) -> list[dict[str, Any]]:
    """Rows for all logs, settings and sizes of a turn."""
    rows = []
    for name in ("memory", "OFF", "NORMAL", "FULL"):
        for full in (False, True):
            for a_turn in (1, 10, 100):
                config = attrs.evolve(ENDLESS, retention_count=10_000) if full else ENDLESS
                path = folder / f"{name}-{a_turn}-{full}.sqlite"
                log: Any = MemoryLog(config) if name == "memory" else SqliteLog(path, config, name)
                log.load()
                source = Source(size)
                for _ in range(100):
                    source.turn(log, source.next(100))
                cpu, wall = cost(log, source, bundles if name != "FULL" else min(bundles, 2_000 * a_turn), a_turn)
                log.close()
                path.unlink(missing_ok=True)
                rows.append({"log": name, "full": full, "a_turn": a_turn, "cpu_us": cpu, "wall_us": wall})
    return rows


def opening(folder: Path, count: int, size: int) -> dict[str, Any]:
    """What a log of so many bundles takes to open, on disk, and to be read."""
    path = folder / "opened.sqlite"
    log = SqliteLog(path, ENDLESS, "OFF")
    log.load()
    source = Source(size)
    for _ in range(count // 1000):
        source.turn(log, source.next(1000))
    begin = time.perf_counter()
    log.close()
    closing = time.perf_counter() - begin
    found: dict[str, Any] = {"bundles": count, "close_s": closing}
    found["line_bytes"] = len(source.line(*source.next(1)[0][:2]))
    found["disk_bytes_a_bundle"] = path.stat().st_size / count
    found["open_s"] = _open(path)
    if os.fork() == 0:
        # A child that ends like one that was killed.
        log = SqliteLog(path, ENDLESS)
        log.load()
        source.count = count
        for _ in range(1000):
            source.turn(log, source.next(1))
        os._exit(0)
    os.wait()
    found["open_killed_s"] = _open(path)
    log = SqliteLog(path, ENDLESS)
    log.load()
    found["history_s"] = _timed(lambda: log.history(float(count), count / 2, None))[0]
    found["expire_s"] = _timed(lambda: log.expire(1e13))[0]
    log.rollback()
    for name, reading in (("read", _read), ("entries", _entries)):
        seconds, (lines, size) = _timed(lambda reading=reading: reading(log))
        found[f"{name}_a_second"], found[f"{name}_mib_s"] = lines / seconds, size / seconds / 1_048_576
    log.close()
    path.unlink()
    return found


def _open(path: Path) -> float:
    """Seconds to open the log."""
    log = SqliteLog(path, ENDLESS)
    seconds, _ = _timed(log.load)
    log.close()
    return seconds


def _timed(call: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def _read(log: SqliteLog, most: int = 200_000) -> tuple[int, int]:
    """Read one stream after the other, as a link that catches up; (lines, bytes)."""
    count = size = 0
    for stream in STREAMS:
        seq = log.floor(stream)
        while count < most and (lines := log.read(stream, seq, CHUNK)):
            seq += len(lines)
            count += len(lines)
            size += sum(map(len, lines))
    return count, size


def _entries(log: SqliteLog, most: int = 200_000) -> tuple[int, int]:
    """Read all streams in the order of arrival; (entries, bytes)."""
    count = size = after = 0
    while count < most and (entries := log.entries(after, CHUNK)):
        after = entries[-1].number
        count += len(entries)
        size += sum(len(entry.line or b"") for entry in entries)
    return count, size


def show(rows: list[dict[str, Any]]) -> None:
    """A table of them."""
    print("  ".join(f"{name:>{max(10, len(name))}}" for name in rows[0]))
    for row in rows:
        cells = [f"{value:,.4g}" if isinstance(value, float) else f"{value}" for value in row.values()]
        print("  ".join(f"{cell:>{max(10, len(name))}}" for name, cell in zip(row, cells, strict=True)), flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--open", type=int, nargs="*", default=[100_000, 1_000_000], metavar="BUNDLES")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = {
            "cost": costs(Path(folder), options.bundles, options.size) if options.bundles else [],
            "open": [opening(Path(folder), count, options.size) for count in options.open],
        }
    if options.json:
        print(json.dumps(found))
        return
    for rows in found.values():
        if rows:
            show(rows)


if __name__ == "__main__":
    main()
