"""Peers that say numbered lines all the time while a network lives through something, and what must come of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from tests.live.network import LiveNetwork
from tests.live.processes import TwistdPeer, wait_until

PATIENCE = 60.0
"""Seconds in which a peer takes the lines that wait for it."""
QUIET = 60.0
"""Seconds in which everything must be as it should be again, as in the simulator."""
RATE = 5.0
SENDERS = 5


def spread(peers: Sequence[TwistdPeer]) -> list[TwistdPeer]:
    """Some of them, who talk: the first and the last among them."""
    return [peers[round(number * (len(peers) - 1) / (SENDERS - 1))] for number in range(SENDERS)]


class Publishing(threading.Thread):
    """Types numbered lines into a peer; in a thread, since a peer that does not read blocks it.

    Args:
        rate: lines a second.
        size: bytes of a line, where that is more than its number takes.
        tick: seconds between those that are typed together.
    """

    def __init__(self, peer: TwistdPeer, rate: float, size: int, tick: float = 0.05) -> None:
        super().__init__(daemon=True)
        self.begun = self.said = 0
        """How many lines were begun to be typed, and were typed: the peer may have said those between them, or not."""
        self.peer = peer
        self._rate, self._size, self._tick = rate, size, tick
        self._ended = threading.Event()

    def run(self) -> None:
        """Say what is due by now, now and then."""
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            while not self._ended.wait(self._tick):
                due = int((time.monotonic() - began) * self._rate)
                self.begun = due
                self.peer.say(*(f"{number} ".ljust(self._size, "x") for number in range(self.said, due)))
                self.said = due

    def end(self) -> None:
        """Say no more."""
        self._ended.set()
        self.join(PATIENCE)
        if self.is_alive():
            self.peer.popen.kill()
            self.join()
            raise AssertionError("the publisher takes no more lines")


class Talk:
    """Some peers of a network say numbered lines; `with` begins and ends it.

    Whoever is alive in the network at the beginning must hear each line of each sender that stays alive once, in order.
    Of a sender that dies all must hear the same lines, from the first on. Who joins meanwhile must hear everything from
    its join on.

    Args:
        rate: lines a second that each of the senders says.
    """

    def __init__(self, network: LiveNetwork, senders: Sequence[TwistdPeer], rate: float = RATE) -> None:
        self.network = network
        self.senders = {sender.peer: Publishing(sender, rate, 0, tick=0.01) for sender in senders}
        self._rate = rate
        self._since: dict[str, dict[str, int]] = {}

    def __enter__(self) -> Talk:
        for each in self.senders.values():
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Say no more."""
        for each in self.senders.values():
            each.end()

    def joined(self, newcomer: TwistdPeer) -> None:
        """Wait until this one has joined; what is said from then on it must hear."""
        newcomer.wait("ready")
        self._from_now_on(newcomer)

    def met(self, genesis: TwistdPeer) -> None:
        """Wait until a genesis that was alone hears somebody: there it begins, as a newcomer does."""
        genesis.wait("message")
        self._from_now_on(genesis)

    def _from_now_on(self, newcomer: TwistdPeer) -> None:
        self._since[newcomer.peer] = {origin: each.begun for origin, each in self.senders.items()}

    def go_on(self, seconds: float = 2.0, among: Sequence[TwistdPeer] = ()) -> None:
        """Wait until each sender among these peers, or all alive, has talked for so long, and all of them heard it."""
        peers, lines = among or self.network.alive, round(seconds * self._rate)
        ids = {peer.peer for peer in peers}
        wanted = {origin: each.said + lines for origin, each in self.senders.items() if origin in ids}
        wait_until(
            lambda: all(self._has(peer, origin, number) for peer in peers for origin, number in wanted.items()),
            f"{lines} more lines of each at all others",
            QUIET,
        )

    def wait_quiet(self, what: str, since: float) -> None:
        """Wait until all that must be there is, then check that nothing else is; prints how long it took.

        Args:
            what: has happened.
            since: when it ended, on the monotonic clock.
        """
        ended = time.monotonic() - since
        parts: dict[str, Callable[[], bool]] = {
            "messages": self._complete,
            "directories": self.network.directories_complete,
            "neighbours": self.network.views_good,
        }
        at: dict[str, float] = {}

        def quiet() -> bool:
            for name, holds in parts.items():
                if not holds():
                    at.pop(name, None)
                else:
                    at.setdefault(name, time.monotonic() - since)
            return len(at) == len(parts)

        try:
            wait_until(quiet, f"quiet after: {what}", QUIET)
        except AssertionError as error:
            raise AssertionError(f"{error}; good: {', '.join(at) or 'nothing'}; {self._state()}") from None
        took = ", ".join(f"{name} after {seconds:.1f}" for name, seconds in at.items())
        print(f"\n{what}: quiet {max(at.values()):.1f} s later ({took}; the last line was said after {ended:.1f})")
        self.check()

    def check(self) -> None:
        """Everybody says one thing more, and nobody has heard anything twice, out of order, or not at all."""
        self.network.talk("and all is well")
        found = self.violations()
        assert not found, "\n".join(found)
        for peer in self.network.started:
            assert "raceback" not in peer.output

    def violations(self) -> list[str]:
        """What is not as it must be, of the lines said so far."""
        return [
            f"{peer.name} heard of {each.peer.name}, which said {each.said}: {fault}"
            for peer in self.network.alive
            for origin, each in self.senders.items()
            if peer.peer != origin and (fault := self._fault(peer, origin))
        ] + [f"{peer.name} was told of {gap}" for peer in self.network.alive for gap in peer.find("gap")]

    def _fault(self, peer: TwistdPeer, origin: str) -> str:
        heard, since, wanted = numbers(peer, origin), self._from(peer, origin), self._wanted(origin)
        if not heard and since >= wanted:
            return ""
        first = heard[0] if heard else 0
        if heard != list(range(first, first + len(heard))):
            return f"not one after the other: {heard}"
        if first > since:
            return f"nothing before {first}, while it joined at {since}"
        if first + len(heard) != wanted:
            return f"only up to {first + len(heard)} of {wanted}"
        return ""

    def _complete(self) -> bool:
        return all(
            self._has(peer, origin, self._wanted(origin)) for peer in self.network.alive for origin in self.senders
        )

    def _wanted(self, origin: str) -> int:
        """How many lines of this one all must have heard: all that were said, or as many as anybody has."""
        if any(peer.peer == origin for peer in self.network.alive):
            return self.senders[origin].said
        return max(next_number(peer, origin) for peer in self.network.alive)

    def _has(self, peer: TwistdPeer, origin: str, count: int) -> bool:
        return peer.peer == origin or max(next_number(peer, origin), self._from(peer, origin)) >= count

    def _from(self, peer: TwistdPeer, origin: str) -> int:
        """From which line on it must hear this one."""
        return self._since.get(peer.peer, {}).get(origin, 0)

    def _state(self) -> str:
        """For whoever has to find out what went wrong."""
        alive = {peer.peer: peer.name for peer in self.network.alive}

        def names(ids: Iterable[str]) -> list[str]:
            return sorted(alive.get(each, each[:8]) for each in ids)

        return "\n".join(
            f"{peer.name}: lacks {names(alive.keys() - peer.directory() - {peer.peer})},"
            f" believes in {names(peer.directory() - alive.keys())}, has the neighbours {names(peer.neighbours())},"
            f" heard {[next_number(peer, origin) for origin in self.senders]}"
            for peer in self.network.alive
        )


def numbers(peer: TwistdPeer, origin: str) -> list[int]:
    """The numbers of the lines that a peer was told of this one, as they came."""
    words = (text.partition(" ")[0] for text in peer.heard_from(origin))
    return [int(word) for word in words if word.isdigit()]


def next_number(peer: TwistdPeer, origin: str) -> int:
    """One more than the number of the last line of this one; 0 if there was none."""
    last = next((text for text in reversed(peer.heard_from(origin)) if text[0].isdigit()), "-1")
    return int(last.partition(" ")[0]) + 1
