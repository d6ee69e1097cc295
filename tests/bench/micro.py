"""What single steps cost: framing, decoding, signatures, the core's turn, the log.

    python tests/bench/micro.py [--fast] [-o FILE.json] [--inherit-environ PYTHONPATH]
    python -m pyperf compare_to BEFORE.json AFTER.json --table

Each name says for how much its time is: a chunk of 64 KiB, a bundle of 1 or 64 messages of 100 bytes, a turn with so
many bundles. `pyperf` runs each in many processes, and warns where the machine was not quiet.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyperf

from tests.core.pair import Pair
from tests.core.puppet import NETWORK
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Bundle
from twisted_p2p.core.config import LAN
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
from twisted_p2p.messages import Encoder, decode
from twisted_p2p.net.link import LineSplitter
from twisted_p2p.store.sqlitelog import SqliteLog

TEXT = "x" * 100
SIZES = (1, 64)
EPOCH = 1_700_000_000_000
SIGNER = Ed25519Signer.from_seed(b"micro".ljust(32))


def bundles(messages: int, count: int, signed: bool = True) -> list[bytes]:
    """The first lines of a stream, with so many messages in each."""
    encoder = Encoder(LAN.message_max, LAN.bundle_bytes)
    lines = []
    for seq in range(1, count + 1):
        array = b"[%b]" % b",".join(encoder.groups(encoder.prepare(TEXT, 1.7e9) for _ in range(messages)))
        data = wire.bundle_bytes(NETWORK, SIGNER.peer, EPOCH, seq, array)
        lines.append(wire.bundle_line(SIGNER.peer, EPOCH, seq, SIGNER.sign(data) if signed else "0" * 128, array))
    return lines


def timed(call: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    """Seconds for a call with each of them."""
    begin = time.perf_counter()
    for each in inputs:
        call(each)
    return time.perf_counter() - begin


class Trusting:
    """Checks nothing."""

    def verify(self, peer: str, data: bytes, signature: str) -> bool:
        """Always."""
        return True


def linked(verifier: Any) -> tuple[PeerCore, int, float]:
    """A core with one neighbour, the number of that link, and the time."""
    pair = Pair(met=True)
    pair.dial_each_other()
    while pair.choices:
        pair.step(pair.choices[0])
    end = pair.ends[0]
    end.core.spread.verifier = verifier
    [number] = [flow.link.id for flow in end.core.spread.flows.values() if flow.live]
    return end.core, number, pair.now


def core_in(messages: int, verifier: Any) -> Callable[[int], float]:
    """Bundles that a core receives, each in a chunk of its own."""

    def run(loops: int) -> float:
        core, number, now = linked(verifier)
        lines = bundles(messages, loops, signed=not isinstance(verifier, Trusting))
        taken = timed(lambda line: core.lines_received(number, [line], now), lines)
        assert core.positions.of((SIGNER.peer, EPOCH)) == loops + 1
        return taken

    return run


def core_out(messages: int) -> Callable[[int], float]:
    """Bundles that a core makes, signs and writes to one link."""

    def run(loops: int) -> float:
        core, _, now = linked(Trusting())
        core.spread.signer = SIGNER
        encoder = Encoder(LAN.message_max, LAN.bundle_bytes)
        turns = [encoder.groups(encoder.prepare(TEXT, 1.7e9) for _ in range(messages)) for _ in range(loops)]
        return timed(lambda turn: core.broadcast(turn, now), turns)

    return run


def appending(make: Callable[[Path], Any], a_turn: int) -> Callable[[int], float]:
    """Turns that append so many bundles of one message, with their position, and commit."""

    def run(loops: int) -> float:
        stream = (SIGNER.peer, EPOCH)
        [line] = bundles(1, 1)

        def turn(first: int) -> None:
            for seq in range(first, first + a_turn):
                log.append(stream, seq, line, 1.7e9)
            log.move(stream, first + a_turn)
            log.commit()

        with tempfile.TemporaryDirectory() as folder:
            log = make(Path(folder) / "log.sqlite")
            log.load()
            taken = timed(turn, range(1, loops * a_turn + 1, a_turn))
            log.close()
        return taken

    return run


def benchmarks() -> Iterator[tuple[str, Callable[[int], float]]]:
    """All: a name, and what takes a number of loops and returns how many seconds they took."""

    def repeated(call: Callable[[], object]) -> Callable[[int], float]:
        return lambda loops: timed(lambda _: call(), range(loops))

    chunk = b"\n".join([b"x" * 299] * 218) + b"\n"
    splitter = LineSplitter(LAN.line_max)
    yield "split a chunk of 300-byte lines", repeated(lambda: splitter.feed(chunk))
    ping = wire.encode(wire.Ping(12345))
    yield "decode a PING", repeated(lambda: wire.decode(ping))
    frontier = wire.encode(wire.Frontier([(f"{peer:064x}", EPOCH, 1000 + peer) for peer in range(8)]))
    yield "decode a FRONTIER of 8", repeated(lambda: wire.decode(frontier))
    for size in SIZES:
        yield from _of_bundle(size, repeated)
    for size, (name, verifier) in itertools.product(SIZES, (("", Ed25519Verifier()), (", not checked", Trusting()))):
        yield f"core: a bundle of {size} in{name}", core_in(size, verifier)
    for size in SIZES:
        yield f"core: a bundle of {size} out", core_out(size)
    for a_turn in SIZES:
        yield f"memory log: a turn of {a_turn}", appending(lambda path: MemoryLog(LAN), a_turn)
        yield f"SQLite log: a turn of {a_turn}", appending(lambda path: SqliteLog(path, LAN), a_turn)


def _of_bundle(
    size: int, repeated: Callable[[Callable[[], object]], Callable[[int], float]]
) -> Iterator[tuple[str, Callable[[int], float]]]:
    [line] = bundles(size, 1)
    frame = wire.decode(line)
    assert isinstance(frame, wire.Broadcast)
    data = wire.bundle_bytes(NETWORK, *frame.stream, frame.seq, bytes(frame.messages))
    verifier, encoder = Ed25519Verifier(), Encoder(LAN.message_max, LAN.bundle_bytes)
    bundle = Bundle(*frame.stream, frame.seq, frame.messages, 1, False)
    yield (
        f"encode messages, {size}",
        repeated(lambda: encoder.groups([encoder.prepare(TEXT, 1.7e9) for _ in range(size)])),
    )
    yield f"decode a bundle of {size}", repeated(lambda: wire.decode(line))
    yield f"see that a bundle of {size} is canonical", repeated(lambda: frame.is_canonical(line))
    yield f"sign a bundle of {size}", repeated(lambda: SIGNER.sign(data))
    yield f"check a bundle of {size}", repeated(lambda: verifier.verify(frame.origin, data, frame.sig))
    yield f"decode messages, {size}", repeated(lambda: decode(bundle))


if __name__ == "__main__":
    runner = pyperf.Runner()
    for name, run in benchmarks():
        runner.bench_time_func(name, run)
