"""Sizes that a network has to bear, on real sockets, with the default settings. Linux only.

    python tests/bench/sizes.py join [--records 5000]
    python tests/bench/sizes.py message [--peers 5]
    python tests/bench/sizes.py stopped-reader [--peers 6] [--seconds 120 | --until-failed] [--rate 200] [--size 8192]

Each prints what it measured, and what is not as it should be; then it exits with 1.

`join`: a newcomer takes a directory of so many records, and as many positions, from one peer. The records are signed
with real keys. Nobody lives at their addresses: the newcomer has to come by them before they are declared failed.

`message`: the largest message that may be sent reaches everybody whole, once; one byte more is refused.

`stopped-reader`: one peer publishes steadily, one is stopped for a while and goes on. The others get everything in
time, and keep nothing for the stopped one but their log; the stopped one catches up. Memory is the proportional set
size. With --until-failed it goes on as soon as all others have declared it failed. What is published meanwhile has to
fit into a log, 256 MiB.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs
from twisted.internet.task import LoopingCall

from tests.bench.meters import memory
from tests.live.network import LiveNetwork
from tests.live.processes import Peers, Process, TwistdPeer, wait_until
from tests.live.talk import Publishing
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.core.wire import Record, record_bytes
from twisted_p2p.errors import MessageTooBig
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.messages import AROUND, Prepared
from twisted_p2p.net.link import LinkProtocol
from twisted_p2p.net.service import PeerService, Settings
from twisted_p2p.node import Node
from twisted_p2p.shell import Told

MIB = 2**20


class Findings:
    """What was measured, printed at once, and what is not as it should be."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def say(self, line: str) -> None:
        """A line of figures."""
        print(line, flush=True)

    def expect(self, good: bool, fault: str) -> None:
        """Note the fault unless all is well."""
        if not good:
            self.faults.append(fault)
            print(f"NOT AS EXPECTED: {fault}", flush=True)


def answer(**fields: object) -> None:
    """What a worker tells its starter: one JSON object a line."""
    print(json.dumps(fields), flush=True)


def answers(worker: Process, count: int) -> list[dict[str, Any]]:
    """The first answers of a worker, once there are so many."""

    def whole() -> list[str] | None:
        lines = worker.stdout.split("\n")[:-1]
        return lines if len(lines) >= count else None

    return [json.loads(line) for line in worker.wait_for(whole, f"answer {count}")[:count]]


def work(reactor: Any, line_received: Callable[[], object]) -> None:
    """Run until standard input ends; each line on it asks for something."""
    from twisted.internet.stdio import StandardIO
    from twisted.protocols.basic import LineOnlyReceiver

    class Commands(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            line_received()

        def connectionLost(self, reason: object = None) -> None:
            reactor.stop()

    StandardIO(Commands())
    reactor.run()


def start_worker(peers: Peers, *arguments: str) -> Process:
    """This script as a process of its own."""
    return peers.process(sys.executable, __file__, *arguments, name=arguments[0])


# --- join


JOIN_ENTRY = 3 * 1024
"""Bytes of memory that a newcomer may take for a record and a position."""
JOIN_ALLOWANCE = 4 * MIB
"""What it may take besides: a few pages at a time."""


class Measured(PeerService):
    """A peer that counts what it reads."""

    read = longest = lines = 0

    def lines_received(self, link: LinkProtocol, lines: list[bytes]) -> None:
        """Count, then go on as usual."""
        self.lines += len(lines)
        self.read += sum(map(len, lines)) + len(lines)
        self.longest = max(self.longest, *map(len, lines))
        super().lines_received(link, lines)

    def holds(self) -> dict[str, Any]:
        """Its directory and its positions, and what it has read."""
        entries, positions = self.core.membership.entries, self.core.positions
        return {
            "records": {peer: entry.record.sig for peer, entry in entries.items()},
            "alive": sum(entry.status == "alive" for entry in entries.values()),
            "positions": sorted([*stream, positions.of(stream)] for stream in positions.streams()),
            "lines": self.lines,
            "read": self.read,
            "longest": self.longest,
        }


class Lateness:
    """How late the event loop comes to a call every 20 ms: how long it was busy with something else."""

    INTERVAL = 0.02

    def __init__(self, reactor: Any) -> None:
        self._longest = 0.0
        self._last = time.monotonic()
        loop = LoopingCall(self.longest)
        loop.clock = reactor
        loop.start(self.INTERVAL, now=False)

    def longest(self) -> float:
        """The longest so far, in seconds; the time since the last call counts too."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last - self.INTERVAL)
        self._last = now
        return self._longest


def resident(field: str) -> int:
    """Bytes of resident memory of this process: VmRSS now, VmHWM at most.

    Not ru_maxrss: that of a new process begins with what its starter had.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {field} in status")


def strangers(count: int, port: int) -> list[Record]:
    """Signed records of so many peers, all at one port of this machine."""
    now, records = int(time.time() * 1000), []
    for _ in range(count):
        signer = Ed25519Signer()
        text = record_bytes("p2p", signer.peer, now, "alive", "127.0.0.1", port, "")
        records.append(Record(signer.peer, now, "alive", "127.0.0.1", port, signer.sign(text)))
    return records


def hold(count: int) -> None:
    """The worker through which the other one joins: it knows so many peers, and a stream of each."""
    from twisted.internet import reactor

    service = Measured(reactor, Settings(config=LAN))
    service.start()
    # A port that is taken, and at which nobody listens: who dials it is refused at once.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    records = strangers(count, closed.getsockname()[1])
    assert service.core.membership.merge(records)
    for number, record in enumerate(records):
        service.core.positions.move((record.peer, record.incarnation), number + 2)
    answer(port=service.port)
    work(reactor, lambda: answer(**service.holds()))


def take(port: int) -> None:
    """The worker that joins: it tells how that went, and what it had at that moment."""
    from twisted.internet import reactor

    clock: Any = reactor
    service = Measured(reactor, Settings(config=LAN))
    service.start()

    def begin() -> None:
        before, began, lateness = resident("VmRSS"), time.monotonic(), Lateness(reactor)

        def told(what: Told) -> None:
            if isinstance(what, Changed) and what.kind is Kind.READY:
                figures = {"took": time.monotonic() - began, "stall": lateness.longest(), "peak": resident("VmHWM")}
                answer(before=before, **figures, **service.holds())

        service.sink = told
        service.join([("127.0.0.1", port)])

    clock.callWhenRunning(begin)
    work(reactor, lambda: answer(**service.holds()))


def join(peers: Peers, findings: Findings, records: int) -> None:
    """A newcomer takes a large directory and as many positions."""
    holder = start_worker(peers, "hold", str(records))
    port = answers(holder, 1)[0]["port"]
    newcomer = start_worker(peers, "take", str(port))
    found = answers(newcomer, 1)[0]
    holder.say("what do you hold?")
    held = answers(holder, 2)[1]

    known, streams = found["records"].items(), found["positions"]
    same = len(known & held["records"].items())
    level = sum(mine == theirs for mine, theirs in zip(streams, held["positions"], strict=False))
    grown, longest = found["peak"] - found["before"], max(found["longest"], held["longest"])
    findings.say(f"join: {records} records and {records} streams, at one peer; one more joins through it")
    findings.say(f"  joined after {found['took']:.2f} s")
    findings.say(
        f"  the newcomer's directory: {same} records as the other has them, {found['alive']} of them alive;"
        f" its positions: {level} the same"
    )
    findings.say(
        f"  it read {found['lines']} lines, {found['read'] / MIB:.2f} MiB;"
        f" the other read {held['lines']} lines, {held['read'] / MIB:.2f} MiB;"
        f" the longest line: {longest:,} bytes of {LAN.line_max:,}"
    )
    findings.say(
        f"  its memory: {found['before'] / MIB:.1f} MiB before, {found['peak'] / MIB:.1f} at most;"
        f" its event loop stood still for {found['stall'] * 1000:.0f} ms at most"
    )
    whole = same == len(known) == len(held["records"]) == records + 2
    findings.expect(whole, f"the directory is not complete: {same} of {records + 2} records")
    findings.expect(streams == held["positions"] and len(streams) == records, "the positions are not the same")
    findings.expect(longest < LAN.line_max, "a line as long as the limit allows, or longer")
    findings.expect(found["stall"] < LAN.stall, f"it stood still for longer than {LAN.stall:g} s")
    allowed = records * JOIN_ENTRY + JOIN_ALLOWANCE
    findings.expect(grown < allowed, f"its memory grew by {grown / MIB:.1f} MiB; {allowed / MIB:.1f} are allowed")


# --- message


def fit(node: Node, size: int) -> tuple[str, Prepared]:
    """A text, and the message with it, which counts as `size` bytes.

    Raises:
        MessageTooBig: that is more than the limit.
    """
    special = '"\\\n\t\x7füß€🎉'
    noise = hashlib.shake_256(special.encode()).hexdigest(size)
    text = special + noise[: size - node.prepare(special).size]
    return text, node.prepare(text)


def publish(size: int) -> None:
    """The worker that broadcasts one message of `size` bytes, and tries one that is a byte longer."""
    from twisted.internet import reactor

    node = Node(reactor, genesis=True)
    node.startService()

    def refusal() -> str:
        try:
            node.broadcast_prepared([fit(node, size + 1)[1]])
        except MessageTooBig as error:
            return str(error)
        return ""

    def say() -> None:
        text, prepared = fit(node, size)
        sent = time.time()
        node.broadcast_prepared([prepared])
        answer(text=text, size=prepared.size, sent=sent, refusal=refusal())

    answer(port=node.port)
    work(reactor, say)


def message(peers: Peers, findings: Findings, count: int) -> None:
    """A message as large as may be, from a Node to `count` - 1 peers of twistd."""
    size = LAN.message_max
    publisher = start_worker(peers, "publish", str(size))
    address = f"127.0.0.1:{answers(publisher, 1)[0]['port']}"
    readers = [peers.peer("--join", address, "--no-console") for _ in range(count - 1)]
    wait_until(lambda: all(len(reader.directory()) == count - 1 for reader in readers), "complete directories")
    publisher.say("now")
    said = answers(publisher, 2)[1]

    def arrived() -> bool:
        return all(reader.find("message") for reader in readers)

    # Repeats would come by other neighbours, and at the latest with a comparison.
    try:
        wait_until(arrived, "the message at all", 30)
        time.sleep(2 * LAN.graft_timeout)
    except AssertionError as error:
        findings.expect(False, str(error))
    heard = [reader.find("message") for reader in readers]
    findings.say(f"message: {said['size']:,} bytes as JSON, from one of {count} peers to the others")
    findings.say(f"  arrived at {sum(map(bool, heard))}, in all {sum(map(len, heard))} times")
    latest = max((event["at"] for events in heard for event in events), default=said["sent"])
    findings.say(f"  at the last one after {(latest - said['sent']) * 1000:.0f} ms")
    findings.say(f"  one byte more: {said['refusal'] or 'not refused'}")
    findings.expect(said["size"] == size, f"it has not {size:,} bytes")
    findings.expect(all(len(events) == 1 for events in heard), "not everybody got it once")
    whole = all(event["message"] == said["text"] for events in heard for event in events)
    findings.expect(whole, "somebody got something else")
    findings.expect(f"{size + 1} bytes" in said["refusal"], "one byte more is not refused, or the error is not clear")


# --- stopped-reader


WARM_UP = 3.0
"""Seconds of publishing before the reader is stopped: links and buffers are then what they will be."""
ALLOWANCE = 8 * MIB
"""What the memory of a peer may grow by beside its log: buffers of links and of the --events file, and noise."""
MESSAGE = AROUND
"""Bytes of a message in a log beside its text, where nothing else is broadcast in that millisecond."""
BUNDLE = 500
"""Bytes of a bundle in a log beside its messages: ids, a signature, names, and the objects that hold it."""
HOLES, HOLES_PUBLISHER = 1.25, 2.0
"""Memory that a byte of a log may take: between the bundles lies what their coming, or making, took for a moment."""
LATE = 2.5
"""Seconds within which a message is at everybody who is not stopped: that a link is dead shows after more."""
LEVEL = 1.0
"""Who gets messages younger than this has caught up."""
CATCH_UP = 60.0
"""Seconds in which the reader must have done so."""
EARLIEST, LATEST = LAN.handshake_timeout + LAN.suspicion_timeout, 30.0
"""Seconds after which the stopped one may, and must, have been declared failed."""


@attrs.define
class Watched:
    """A peer, the numbered messages that it was told, and the memory that it had."""

    peer: TwistdPeer
    heard: list[tuple[int, float, float]] = attrs.field(factory=list)
    """Number, when it came, and how old it was then."""
    memory: list[float] = attrs.field(factory=list)
    """In MiB; the first was taken when the reader was stopped."""
    over: float = 0.0
    """MiB by which it was at most above what its log explains."""
    bundles: int = 0
    """How many the messages came in."""
    _read: int = 0

    def look(self) -> None:
        """Take in what has happened. The texts are dropped: they would fill our own memory."""
        events = self.peer.events
        for event in itertools.islice(events, self._read, None):
            if event["event"] == "message":
                number = event["message"] = int(event["message"].partition(" ")[0])
                self.heard.append((number, event["at"], event["at"] - event["time"]))
                self.bundles = event["seq"]
        self._read = len(events)

    def weigh(self, logged: float) -> None:
        """Take its memory; its log explains so many MiB more than the first time."""
        self.memory.append(memory(self.peer.popen.pid))
        self.over = max(self.over, self.memory[-1] - self.memory[0] - logged)

    def has(self, number: int) -> bool:
        """Whether this message has come."""
        self.look()
        return bool(self.heard) and self.heard[-1][0] == number


class StoppedReader:
    """The network of `stopped-reader`: one publishes, the last one is the reader that is stopped."""

    def __init__(self, network: LiveNetwork, findings: Findings, peers: int, rate: float, size: int) -> None:
        genesis = network.start("--genesis", "--port", "0")
        for _ in range(peers - 1):
            network.start("--join", genesis.address, "--no-console")
        network.wait_settled()
        self.network, self.findings, self.size = network, findings, size
        self.watched = [Watched(peer) for peer in network.alive]
        self.readers, self.stopped = self.watched[1:-1], self.watched[-1]
        self.publishing = Publishing(genesis, rate, size)
        self.logged = 0.0
        """MiB that each log has taken in since the reader was stopped."""
        self._said = self._bundles = 0

    def weigh(self) -> None:
        """Take the memory of all. Their logs have taken in what was published since the first time, up to a bound."""
        messages, bundles = self.publishing.said - self._said, self.readers[0].bundles - self._bundles
        logged = min(messages * (self.size + MESSAGE) + bundles * BUNDLE, LAN.retention_bytes) / MIB
        self.logged = logged
        for each in self.watched:
            each.weigh(logged * (HOLES_PUBLISHER if each is self.watched[0] else HOLES))

    def spend(self, done: Callable[[], bool], what: str, timeout: float) -> None:
        """Watch all until something has happened."""
        end = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
            time.sleep(0.5)
            for each in self.watched:
                each.look()
            self.weigh()

    def declared(self, event: str) -> bool:
        """Whether everybody else has told this of the stopped one."""
        others = self.watched[:-1]
        return all(each.peer.find(event, peer=self.stopped.peer.peer) for each in others)

    def play(self, seconds: float, until_failed: bool) -> None:
        """Stop the reader, let it go on, and wait until everybody has everything."""
        self.publishing.start()
        try:
            time.sleep(WARM_UP)
            begin = self._stop()
            if until_failed:
                self.spend(lambda: self.declared("failed"), "the stopped reader declared failed", 60)
            else:
                self.spend(lambda: time.time() >= begin + seconds, "the end of the pause", seconds + 60)
            went_on, failed = time.time(), self.declared("failed")
            self.stopped.peer.send_signal(signal.SIGCONT)
            self._expect_within(CATCH_UP, lambda: bool(self._level_after(went_on)), "the reader caught up")
        finally:
            self.publishing.end()
        self._expect_within(CATCH_UP, self._all_there, "the last message at all, and all in every directory")
        self.report(begin, went_on, failed)

    def _stop(self) -> float:
        """Stop the reader; when that was."""
        self.readers[0].look()
        self._said, self._bundles = self.publishing.said, self.readers[0].bundles
        self.stopped.peer.send_signal(signal.SIGSTOP)
        begin = time.time()
        self.weigh()
        return begin

    def _expect_within(self, timeout: float, done: Callable[[], bool], what: str) -> None:
        try:
            self.spend(done, what, timeout)
        except AssertionError as error:
            self.findings.expect(False, str(error))

    def _level_after(self, went_on: float) -> list[float]:
        """When the stopped one got what had only just been said, in seconds since it went on."""
        self.stopped.look()
        return [at - went_on for _, at, age in self.stopped.heard if at >= went_on and age < LEVEL]

    def _all_there(self) -> bool:
        return all(each.has(self.publishing.said - 1) for each in self.watched[1:]) and (
            self.network.directories_complete()
        )

    def report(self, begin: float, went_on: float, failed: bool) -> None:
        """What has come of it."""
        say, expect, said = self.findings.say, self.findings.expect, self.publishing.said
        stood = went_on - begin
        say(f"  stopped for {stood:.1f} s; {said} messages in all, {self.logged:.1f} MiB in a log since it was stopped")
        for each in self.watched:
            first, last = each.memory[0], each.memory[-1]
            role = {self.watched[0].peer: "publisher", self.stopped.peer: "stopped"}.get(each.peer, "reader")
            say(
                f"  {each.peer.name}, {role}: {first:.1f} MiB when it was stopped, {last:.1f} at the end,"
                f" {max(each.memory):.1f} at most; {each.over:.1f} above its log"
            )
            expect(each.over < ALLOWANCE / MIB, f"{each.peer.name} takes more memory than its log explains")
        about = self.stopped.peer.peer
        links = [event for each in self.watched[:-1] for event in each.peer.find("link-down", peer=about)]
        ends = [f"{event['reason']} after {event['at'] - begin:.1f} s" for event in links]
        say(f"  its links, as the others saw them: {', '.join(sorted(ends)) or 'none has ended'}")
        claims = [event["at"] - begin for each in self.watched[:-1] for event in each.peer.find("failed", peer=about)]
        when = f"after {min(claims):.1f} to {max(claims):.1f} s" if claims else "by nobody"
        say(f"  declared failed: {when}")
        expect(failed or stood < LATEST, f"it was not declared failed by all within {LATEST:g} s")
        expect(min(claims, default=LATEST) > EARLIEST, f"it was declared failed within {EARLIEST:g} s")
        expect(max(claims, default=0.0) < min(stood, LATEST) + LATE, "it was declared failed too late")
        ages = [age for each in self.readers for _, _, age in each.heard]
        waits = [after[1] - before[1] for each in self.readers for before, after in itertools.pairwise(each.heard)]
        say(
            f"  the other readers: every message after {max(ages, default=0) * 1000:.0f} ms at most;"
            f" the longest time without one: {max(waits, default=0) * 1000:.0f} ms"
        )
        expect(max(ages, default=LATE) < LATE, f"a message took longer than {LATE:g} s")
        level = self._level_after(went_on)
        behind = sum(at >= went_on for _, at, age in self.stopped.heard if age >= LEVEL)
        when = f"level {level[0]:.2f} s after it went on" if level else "never level again"
        say(f"  the stopped one: {when}; it got {behind} messages late")
        for each in self.watched[1:]:
            numbers = [number for number, _, _ in each.heard]
            expect(numbers == list(range(said)), f"{each.peer.name} got not every message, once, in order")
            expect(not each.peer.find("gap"), f"{each.peer.name} was told of a gap")


def stopped_reader(
    network: LiveNetwork,
    findings: Findings,
    peers: int,
    seconds: float,
    until_failed: bool,
    rate: float,
    size: int,
) -> None:
    """One reader is stopped for a while; nobody else notices, and it catches up."""
    findings.say(f"stopped-reader: {peers} peers, of which one publishes {rate:g} messages a second of {size:,} bytes")
    StoppedReader(network, findings, peers, rate, size).play(seconds, until_failed)


# --- the command


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is to be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="join | message | stopped-reader")
    joining = commands.add_parser("join")
    joining.add_argument("--records", type=int, default=5000)
    large = commands.add_parser("message")
    large.add_argument("--peers", type=int, default=5)
    stopped = commands.add_parser("stopped-reader")
    stopped.add_argument("--peers", type=int, default=6)
    stopped.add_argument("--seconds", type=float, default=120.0, help="how long the reader is stopped")
    stopped.add_argument("--until-failed", action="store_true", help="until all others have declared it failed")
    stopped.add_argument("--rate", type=float, default=200.0, help="messages a second")
    stopped.add_argument("--size", type=int, default=8192, help="bytes of a message's text")
    for worker in ("hold", "take", "publish"):
        commands.add_parser(worker).add_argument("number", type=int)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it; 1 if something is not as it should be."""
    options = parse(arguments)
    workers = {"hold": hold, "take": take, "publish": publish}
    if options.command in workers:
        workers[options.command](options.number)
        return 0
    findings = Findings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peers, network = Peers(folder), LiveNetwork(folder)
        try:
            if options.command == "join":
                join(peers, findings, options.records)
            elif options.command == "message":
                message(peers, findings, options.peers)
            else:
                stopped_reader(
                    network,
                    findings,
                    options.peers,
                    options.seconds,
                    options.until_failed,
                    options.rate,
                    options.size,
                )
        except AssertionError as error:
            findings.expect(False, str(error))
        finally:
            network.destroy()
            peers.destroy()
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
