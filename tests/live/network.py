"""A network of twistd peers on this machine, and what one asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.live.processes import Peers, TwistdPeer, wait_until

ACTIVE_MAX = 8


class LiveNetwork:
    """Peers by name; `alive` are those that should know each other."""

    def __init__(self, folder: Path) -> None:
        self._peers = Peers(folder)
        self.started: list[TwistdPeer] = []
        self.alive: list[TwistdPeer] = []

    def start(self, *options: str) -> TwistdPeer:
        """One more peer."""
        peer = self._peers.peer(*options)
        self.started.append(peer)
        self.alive.append(peer)
        return peer

    def start_many(self, count: int, through: TwistdPeer) -> list[TwistdPeer]:
        """So many peers at once, which join through one."""
        return [self.start("--join", through.address) for _ in range(count)]

    def gone(self, peer: TwistdPeer) -> None:
        """This one is no longer to be known to the others."""
        self.alive.remove(peer)

    def destroy(self) -> None:
        """End them all."""
        self._peers.destroy()

    # --- questions

    def directories_complete(self) -> bool:
        """Everybody knows exactly all the others."""
        ids = {peer.peer for peer in self.alive}
        return all(peer.directory() == ids - {peer.peer} for peer in self.alive)

    def views_good(self) -> bool:
        """Everybody has enough neighbours and not too many, and neighbours have each other."""
        by_id = {peer.peer: peer for peer in self.alive}
        enough = min(3, len(self.alive) - 1)
        return all(
            enough <= len(peer.neighbours()) <= ACTIVE_MAX
            and all(other in by_id and peer.peer in by_id[other].neighbours() for other in peer.neighbours())
            for peer in self.alive
        )

    def wait_settled(self, timeout: float = 90.0) -> None:
        """Wait until both hold."""
        for peer in self.alive:
            peer.wait("ready", timeout=timeout)
        wait_until(self.directories_complete, "complete directories", timeout)
        wait_until(self.views_good, "symmetric views with degrees in bounds", timeout)

    def wait_everyone_saw(self, event: str, about: str, timeout: float = 60.0) -> None:
        """Wait until everybody has told of this event about a peer."""
        wait_until(lambda: all(peer.find(event, peer=about) for peer in self.alive), f"{event} everywhere", timeout)

    def talk(self, word: str, timeout: float = 90.0) -> None:
        """Everybody says one thing; wait until it is at all others."""
        texts = {peer.name: f"{word} from {peer.name}" for peer in self.alive}
        for peer in self.alive:
            peer.say(texts[peer.name])
        wait_until(lambda: self._all_heard(texts.values()), f"{word} of each at all others", timeout)
        for peer in self.alive:
            assert sorted(heard(peer, texts.values())) == sorted(set(texts.values()) - {texts[peer.name]})

    def _all_heard(self, texts: Iterable[str]) -> bool:
        wanted = set(texts)
        return all(len(set(heard(peer, wanted))) >= len(wanted) - 1 for peer in self.alive)


def heard(peer: TwistdPeer, texts: Iterable[str]) -> Sequence[str]:
    """Which of these a peer was told, as often as it was."""
    wanted = set(texts)
    return [each["message"] for each in peer.find("message") if each["message"] in wanted]
