"""Compare deliveries with a bare Twisted relay of the same libraries, in the same run.

    python tests/bench/relay.py [--peers 8] [--messages 100000] [--size 100] [--burst 500] [--rounds 3]
                                [--systems bare memory full] [--folder DIR] [--json]

One publisher, one process a peer, all on this machine. A delivery is one message handed to the application of one peer
other than the publisher. The bare relay is the least that a Twisted overlay does: it floods JSON lines over three dials
a peer, drops repeats by a set, joins its writes once a turn; it signs nothing, keeps nothing and repairs nothing.
Ours are `plain`, without encryption, or, with it, named after their log: in memory, or in a file in `--folder` with
SQLite's setting off, normal or full.
Trust the ratios, not the figures: they come from one machine in one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.workers import Worker, machine, obey, say

SYSTEMS = ("bare", "plain", "memory", "off", "normal", "full")


class Bare:
    """A peer of the bare relay."""

    def __init__(self, reactor: Any, number: int, took: Callable[[int], None]) -> None:
        import msgspec
        from twisted.internet.protocol import Factory, Protocol

        self.reactor, self.number, self.took = reactor, number, took
        self.seen: set[tuple[int, int]] = set()
        self.links: dict[Any, list[bytes]] = {}
        shape = msgspec.defstruct("Line", [("origin", int), ("seq", int), ("text", str)])
        self.shape, self.encode = shape, msgspec.json.encode
        self.decode = msgspec.json.Decoder(shape).decode
        self.paused = 0
        relay = self

        class Link(Protocol):
            tail = b""

            def connectionMade(self) -> None:
                self.transport.setTcpNoDelay(True)
                self.transport.registerProducer(self, True)
                relay.links[self] = []

            def pauseProducing(self) -> None:
                relay.paused += 1

            def resumeProducing(self) -> None:
                relay.paused -= 1

            def stopProducing(self) -> None:
                pass

            def dataReceived(self, data: bytes) -> None:
                lines = (self.tail + data).split(b"\n")
                self.tail = lines.pop()
                relay.receive(self, lines)

        self.factory = Factory.forProtocol(Link)
        self.factory.noisy = False
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1").getHost().port

    def join(self, ports: list[int]) -> Any:
        from twisted.internet.defer import gatherResults
        from twisted.internet.endpoints import TCP4ClientEndpoint

        dials = [ports[self.number - back] for back in (1, 2, 3) if self.number >= back]
        return gatherResults(
            [TCP4ClientEndpoint(self.reactor, "127.0.0.1", port).connect(self.factory) for port in dials]
        )

    def receive(self, source: Any, lines: list[bytes]) -> None:
        fresh = 0
        for line in lines:
            message = self.decode(line)
            key = (message.origin, message.seq)
            if key not in self.seen:
                self.seen.add(key)
                fresh += 1
                self.forward(line, source)
        if fresh:
            self.took(fresh)

    def forward(self, line: bytes, source: Any) -> None:
        for link, queue in self.links.items():
            if link is not source:
                if not queue:
                    self.reactor.callLater(0, self.flush, link)
                queue.append(line)

    def flush(self, link: Any) -> None:
        queue = self.links[link]
        queue.append(b"")
        link.transport.write(b"\n".join(queue))
        self.links[link] = []

    def publish(self, count: int, text: str, burst: int, sent: int = 0) -> None:
        if self.paused:
            self.reactor.callLater(0.001, self.publish, count, text, burst, sent)
            return
        for seq in range(sent, min(count, sent + burst)):
            self.seen.add((self.number, seq))
            self.forward(self.encode(self.shape(self.number, seq, text)), None)
        if sent + burst < count:
            self.reactor.callLater(0, self.publish, count, text, burst, sent + burst)


class Ours:
    """A peer of ours. `log`: "plain" or "memory", or the setting of one in `folder`."""

    def __init__(self, reactor: Any, number: int, took: Callable[[int], None], log: str, folder: str) -> None:
        from twisted_p2p import Node

        self.number = number
        is_kept = log not in ("plain", "memory")
        kept = {"data_dir": f"{folder}/{number}", "synchronous": log.upper()} if is_kept else {}
        self.node = Node(reactor, genesis=number == 0, plaintext=log == "plain", **kept)
        self.node.on_messages(lambda messages: took(len(messages)))
        self.node.startService()
        self.port = self.node.port

    def join(self, ports: list[int]) -> Any:
        return self.node.when_ready() if self.number == 0 else self.node.join_network("127.0.0.1", ports[0])

    def publish(self, count: int, text: str, burst: int, sent: int = 0) -> None:
        if sent < count:
            done = self.node.broadcast_all([text] * min(burst, count - sent))
            done.addCallback(lambda _: self.publish(count, text, burst, sent + burst))


def work(system: str, number: int, folder: str) -> None:
    """One peer: commands come on standard input, answers go to standard output."""
    from twisted.internet import reactor

    state = {"got": 0, "expected": 0, "cpu": 0.0}

    def took(count: int) -> None:
        state["got"] += count
        if state["got"] == state["expected"]:
            say(done=time.monotonic(), cpu=time.process_time() - state["cpu"])

    def expect(command: dict[str, Any]) -> None:
        state.update(got=0, expected=command["count"], cpu=time.process_time())
        say(expect=True)

    def publish(command: dict[str, Any]) -> None:
        state["cpu"] = time.process_time()
        peer.publish(command["count"], "x" * command["size"], command["burst"])

    peer = Bare(reactor, number, took) if system == "bare" else Ours(reactor, number, took, system, folder)
    orders: dict[str, Callable[[dict[str, Any]], object]] = {
        "join": lambda command: peer.join(command["ports"]).addCallback(lambda _: say(join=True)),
        "expect": expect,
        "publish": publish,
        "cpu": lambda command: say(cpu=time.process_time() - state["cpu"]),
    }
    obey(orders, reactor.stop)
    say(port=peer.port)
    reactor.run()


def measure(system: str, options: argparse.Namespace) -> tuple[float, float]:
    """(deliveries a second, CPU microseconds a delivery) of one run."""
    with tempfile.TemporaryDirectory(dir=options.folder) as inside:
        workers = [Worker(__file__, "--work", system, number, inside) for number in range(options.peers)]
        try:
            ports = [worker.hear()["port"] for worker in workers]
            for worker in workers:
                worker.ask(do="join", ports=ports)
            time.sleep(1.5)  # let the overlay fill up, as it would have in real life
            publisher, others = workers[1], [worker for worker in workers if worker is not workers[1]]
            for worker in others:
                worker.ask(do="expect", count=options.messages)
            begin = time.monotonic()
            publisher.tell(do="publish", count=options.messages, size=options.size, burst=options.burst)
            ends = [worker.hear() for worker in others]
            cpu = sum(end["cpu"] for end in ends) + publisher.ask(do="cpu")["cpu"]
            wall = max(end["done"] for end in ends) - begin
        finally:
            for worker in workers:
                worker.end()
    deliveries = options.messages * (options.peers - 1)
    return deliveries / wall, cpu / deliveries * 1e6


def main() -> None:
    """Run all in turn, and print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--burst", type=int, default=500, help="messages that are broadcast in one turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--folder", help="for the logs, on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        system, number, folder = options.work
        work(system, int(number), folder)
        return
    found: dict[str, list[tuple[float, float]]] = {system: [] for system in options.systems}
    for _ in range(options.rounds):
        for system, runs in found.items():
            runs.append(measure(system, options))
            if not options.json:
                print(f"{system}: {runs[-1][0]:,.0f} deliveries a second, {runs[-1][1]:.2f} us of CPU each", flush=True)
    show(found, options.json)


def show(found: dict[str, list[tuple[float, float]]], as_json: bool) -> None:
    """The medians, and their ratios to the first system."""
    middle = {
        system: tuple(sorted(column)[len(runs) // 2] for column in zip(*runs, strict=True))
        for system, runs in found.items()
    }
    if as_json:
        names = ("a_second", "cpu_us")
        rows = {system: dict(zip(names, values, strict=True)) for system, values in middle.items()}
        print(json.dumps({"machine": machine(), "medians": rows, "runs": found}))
        return
    speed, cost = middle[next(iter(middle))]
    print(f"{'log':>8}{'deliveries/s':>14}{'slower by':>11}{'us of CPU':>11}{'dearer by':>11}   ({machine()})")
    for system, (a_second, cpu) in middle.items():
        print(f"{system:>8}{a_second:>14,.0f}{speed / a_second:>11.2f}{cpu:>11.2f}{cpu / cost:>11.2f}")


if __name__ == "__main__":
    main()
