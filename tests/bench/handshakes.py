"""What a connection costs, encrypted and not: making it, and keeping it open.

    python tests/bench/handshakes.py [--count 640] [--rounds 3] [--json]

A peer, and clients that introduce themselves to it as peers do, 32 at a time; both ends are in one process. Made is a
connection when each end has proven who it is. Memory is what the process grows by while so many stay open.
Trust the ratios, not the figures: they come from one machine in one run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.meters import machine

AT_ONCE = 32
KINDS = ("plaintext", "tls")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


def measure(count: int, is_plain: bool) -> dict[str, float]:
    """Make so many connections and end them; then make as many that stay."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.endpoints import TCP4ClientEndpoint
    from twisted.internet.interfaces import IHandshakeListener
    from twisted.internet.protocol import Factory, Protocol
    from zope.interface import implementer

    from twisted_p2p.core import wire
    from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
    from twisted_p2p.net.service import PeerService, Settings
    from twisted_p2p.net.tls import Credentials, TLSFactory

    service = PeerService(reactor, Settings(plaintext=is_plain))
    service.start()
    signer, verifier, nonce = Ed25519Signer(), Ed25519Verifier(), "0" * 32
    data = wire.record_bytes("p2p", signer.peer, 1, "alive", "127.0.0.1", 1, "")
    record = wire.Record(signer.peer, 1, "alive", "127.0.0.1", 1, signer.sign(data))
    hello = wire.encode(wire.Hello(wire.VERSION, "p2p", record, nonce, False)) + b"\n"

    @implementer(IHandshakeListener)
    class Client(Protocol):
        """Introduces itself, and checks who answers."""

        transport: Any

        def __init__(self) -> None:
            self.received = b""
            self.made: Deferred[Client] = Deferred()

        def connectionMade(self) -> None:
            if is_plain:
                self.transport.write(hello)

        def handshakeCompleted(self) -> None:
            self.transport.write(hello)

        def dataReceived(self, data: bytes) -> None:
            self.received += data
            lines = self.received.split(b"\n")[:-1]
            if self.made.called or len(lines) < 1 + is_plain:
                return
            theirs: Any = wire.decode(lines[0])
            assert verifier.verify(theirs.record.peer, theirs.record.signed_bytes("p2p"), theirs.record.sig)
            if is_plain:
                proof: Any = wire.decode(lines[1])
                said = wire.proof_bytes("p2p", theirs.record.peer, signer.peer, nonce, theirs.nonce)
                assert verifier.verify(theirs.record.peer, said, proof.sig)
                own = wire.proof_bytes("p2p", signer.peer, theirs.record.peer, theirs.nonce, nonce)
                self.transport.write(wire.encode(wire.Proof(signer.sign(own))) + b"\n")
            self.made.callback(self)

    credentials = Credentials(signer)

    async def connect() -> list[Any]:
        plain: Any = Factory.forProtocol(Client)
        factory: Any = plain if is_plain else TLSFactory(reactor, credentials, True, plain, print)
        endpoint = TCP4ClientEndpoint(reactor, *service.address)
        made: Any = await gatherResults([endpoint.connect(factory) for _ in range(AT_ONCE)])
        clients = [getattr(each, "wrappedProtocol", each) for each in made]
        return list(await gatherResults([client.made for client in clients]))

    found: dict[str, float] = {}

    async def run() -> None:
        await connect()
        begun, at = time.process_time(), time.monotonic()
        for _ in range(0, count, AT_ONCE):
            for client in await connect():
                client.transport.abortConnection()
        found["ms"] = (time.process_time() - begun) / count * 1000
        found["a_second"] = count / (time.monotonic() - at)
        before, kept = resident(), []
        for _ in range(0, count, AT_ONCE):
            kept += await connect()
        found["KiB"] = (resident() - before) / len(kept) / 1024

    def stop(_: object) -> None:
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()).addBoth(stop))
    reactor.run()
    return found


def main() -> None:
    """Each kind in a process of its own, in turn; medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(measure(options.count, options.work == "plaintext")))
        return
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind, found in runs.items():
            command = [sys.executable, __file__, "--work", kind, "--count", str(options.count)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {kind: {what: median(one[what] for one in found) for what in found[0]} for kind, found in runs.items()}
    if options.json:
        print(json.dumps({"machine": machine(), "medians": medians, "runs": runs}))
        return
    print(f"{'':10}{'ms of CPU':>11}{'a second':>11}{'KiB each':>11}   both ends together ({machine()})")
    for kind, row in medians.items():
        print(f"{kind:10}{row['ms']:11.2f}{row['a_second']:11,.0f}{row['KiB']:11.1f}")


if __name__ == "__main__":
    main()
