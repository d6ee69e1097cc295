"""Compare deliveries with a bare Twisted relay of the same libraries, in the same run.

    python tests/bench/relay.py [--peers 8] [--messages 100000] [--size 100] [--rounds 3]

One publisher, one process a peer, all on this machine. A delivery is one message handed to the application of one peer
other than the publisher. The bare relay is the least that a Twisted overlay does: it floods JSON lines over three dials
a peer, drops repeats by a set, joins its writes once a turn; it signs nothing, keeps nothing and repairs nothing.
Trust the ratios, not the figures: they come from one machine in one run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BURST = 500


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

    def publish(self, count: int, text: str, sent: int = 0) -> None:
        if self.paused:
            self.reactor.callLater(0.001, self.publish, count, text, sent)
            return
        for seq in range(sent, min(count, sent + BURST)):
            self.seen.add((self.number, seq))
            self.forward(self.encode(self.shape(self.number, seq, text)), None)
        if sent + BURST < count:
            self.reactor.callLater(0, self.publish, count, text, sent + BURST)


class Ours:
    """A peer of ours."""

    def __init__(self, reactor: Any, number: int, took: Callable[[int], None]) -> None:
        from twisted_p2p import Node

        self.number = number
        self.node = Node(reactor, genesis=number == 0)
        self.node.on_messages(lambda messages: took(len(messages)))
        self.node.startService()
        self.port = self.node.port

    def join(self, ports: list[int]) -> Any:
        return self.node.when_ready() if self.number == 0 else self.node.join_network("127.0.0.1", ports[0])

    def publish(self, count: int, text: str, sent: int = 0) -> None:
        if sent < count:
            done = self.node.broadcast_all([text] * min(BURST, count - sent))
            done.addCallback(lambda _: self.publish(count, text, sent + BURST))


def work(system: str, number: int) -> None:
    """One peer: commands come as JSON lines on standard input, answers go to standard output."""
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO
    from twisted.protocols.basic import LineOnlyReceiver

    state = {"got": 0, "expected": 0, "cpu": 0.0}

    def say(**answer: object) -> None:
        print(json.dumps(answer), flush=True)

    def took(count: int) -> None:
        state["got"] += count
        if state["got"] == state["expected"]:
            say(done=time.monotonic(), cpu=time.process_time() - state["cpu"])

    peer = (Ours if system == "ours" else Bare)(reactor, number, took)

    class Commands(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            command = json.loads(line)
            if command["do"] == "join":
                peer.join(command["ports"]).addCallback(lambda _: say(joined=True))
            elif command["do"] == "expect":
                state.update(got=0, expected=command["count"], cpu=time.process_time())
                say(ready=True)
            elif command["do"] == "publish":
                state["cpu"] = time.process_time()
                peer.publish(command["count"], "x" * command["size"])
            elif command["do"] == "cpu":
                say(cpu=time.process_time() - state["cpu"])

        def connectionLost(self, reason: object = None) -> None:
            reactor.stop()

    StandardIO(Commands())
    say(port=peer.port)
    reactor.run()


class Worker:
    """A peer's process, seen from outside."""

    def __init__(self, system: str, number: int) -> None:
        argv = [sys.executable, __file__, "--work", system, str(number)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port: int = self.hear()["port"]

    def tell(self, **command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


def measure(system: str, peers: int, messages: int, size: int) -> tuple[float, float]:
    """(deliveries a second, CPU microseconds a delivery) of one run."""
    workers = [Worker(system, number) for number in range(peers)]
    try:
        ports = [worker.port for worker in workers]
        for worker in workers:
            worker.tell(do="join", ports=ports)
            worker.hear()
        time.sleep(1.5)  # let the overlay fill up, as it would have in real life
        publisher, others = workers[1], [worker for worker in workers if worker is not workers[1]]
        for worker in others:
            worker.tell(do="expect", count=messages)
            worker.hear()
        begin = time.monotonic()
        publisher.tell(do="publish", count=messages, size=size)
        ends = [worker.hear() for worker in others]
        publisher.tell(do="cpu")
        cpu = sum(end["cpu"] for end in ends) + publisher.hear()["cpu"]
        wall = max(end["done"] for end in ends) - begin
    finally:
        for worker in workers:
            worker.end()
    deliveries = messages * (peers - 1)
    return deliveries / wall, cpu / deliveries * 1e6


def main() -> None:
    """Run both in turn, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], int(options.work[1]))
        return
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    for _ in range(options.rounds):
        for system, runs in found.items():
            runs.append(measure(system, options.peers, options.messages, options.size))
            print(f"{system}: {runs[-1][0]:,.0f} deliveries a second, {runs[-1][1]:.2f} us of CPU each", flush=True)
    middle = {system: sorted(runs)[len(runs) // 2] for system, runs in found.items()}
    print(
        f"medians: bare {middle['bare'][0]:,.0f}/s, {middle['bare'][1]:.2f} us;"
        f" ours {middle['ours'][0]:,.0f}/s, {middle['ours'][1]:.2f} us;"
        f" ratio of CPU ours/bare {middle['ours'][1] / middle['bare'][1]:.2f},"
        f" of speed {middle['bare'][0] / middle['ours'][0]:.2f}"
    )


if __name__ == "__main__":
    main()
