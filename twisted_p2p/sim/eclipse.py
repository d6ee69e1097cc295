"""An eclipse: one attacker with many keys dials every peer of a network, and wants to be all its neighbours.

Honest peers are in address ranges of their own, and talk all the time. While the attack runs one joins, and one dies
and comes back. Looked at each second: who is whose neighbour, and whether the honest peers are connected without the
attacker. At the end: what they have had of one another, and of whom their directories are.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from twisted_p2p.core.config import LAN, Config
from twisted_p2p.sim.checks import delivered, settles
from twisted_p2p.sim.peer import Address, SimPeer
from twisted_p2p.sim.scenarios import JOIN_LIMIT, SPEAKERS, Violated, say
from twisted_p2p.sim.swarm import Swarm
from twisted_p2p.sim.world import World

JOINS, DIES, RETURNS = 10, 15, 20
"""Seconds of the attack after which a victim joins, and another one dies and comes back."""
CATCH_UP = 30.0
"""Seconds that honest peers have to get what was said last, while the attack goes on."""


def own_range(number: int) -> Address:
    """An address in a /16 where nobody else is."""
    return f"{20 + number // 200}.{number % 200}.1.1", 5050


@attrs.define(eq=False)
class Views:
    """What was seen of some peers' active views.

    Attributes:
        hostile: the share of neighbours that are the attacker's, for each look at a peer that had any.
        lost: looks at which a peer had no honest neighbour.
        longest: for how many looks in a row one had none, at most.
    """

    hostile: list[float] = attrs.field(factory=list)
    lost: int = 0
    longest: int = 0
    _row: dict[str, int] = attrs.field(factory=dict)

    def look(self, peer: SimPeer, ids: set[str]) -> None:
        """Look at a peer's view."""
        active = peer.core.overlay.active
        hostile = sum(other in ids for other in active)
        is_lost = hostile == len(active)
        self.hostile.append(hostile / max(1, len(active)))
        self._row[peer.name] = self._row.get(peer.name, 0) + 1 if is_lost else 0
        self.lost += is_lost
        self.longest = max(self.longest, self._row[peer.name])

    def text(self) -> str:
        """In a line."""
        mean, worst = 100 * sum(self.hostile) / max(1, len(self.hostile)), 100 * max(self.hostile, default=0.0)
        return (
            f"hostile {mean:.0f} % in the mean, {worst:.0f} % at worst;"
            f" no honest one in {self.lost} of {len(self.hostile)} looks, for {self.longest} s at most"
        )


@attrs.define(eq=False)
class Eclipse:
    """One attack, and what came of it.

    Attributes:
        members: peers that were there before.
        joined: one that has joined since; `returned`: one that was down meanwhile.
        pieces: looks at which the honest peers were not connected without the attacker.
    """

    world: World
    swarm: Swarm
    members: list[SimPeer]
    joined: SimPeer
    returned: SimPeer
    old: Views = attrs.field(factory=Views)
    new: Views = attrs.field(factory=Views)
    back: Views = attrs.field(factory=Views)
    looks: int = 0
    pieces: int = 0

    @property
    def honest(self) -> list[SimPeer]:
        """The honest peers that are up and have joined."""
        return [peer for peer in self.world.running if peer.member_since is not None]

    def look(self) -> None:
        """Look at all views."""
        ids, honest = self.swarm.ids, self.honest
        for peer in self.world.running:
            if peer is self.joined:
                self.new.look(peer, ids)
            elif peer is self.returned and peer.lives > 1:
                self.back.look(peer, ids)
            elif peer is not self.returned:
                self.old.look(peer, ids)
        self.looks += 1
        self.pieces += not is_connected(honest)

    def missing(self) -> tuple[int, int]:
        """How many messages honest peers were to have of one another, and how many of those they have not."""
        wanted = lacking = 0
        for peer in self.honest:
            handed = delivered(peer)
            for origin in self.honest:
                if origin is not peer:
                    has = {message for stream in handed if stream[0] == origin.peer for message in handed[stream]}
                    due = [message for at, message in origin.said if at > (peer.member_since or 0.0)]
                    wanted += len(due)
                    lacking += sum(message not in has for message in due)
        return wanted, lacking

    def directories(self) -> tuple[float, int]:
        """The attacker's share of honest directories in the mean, 0 to 1; how many honest entries all of them lack."""
        ids, honest = self.swarm.ids, {peer.peer for peer in self.honest}
        share, lacking = 0.0, 0
        for peer in self.honest:
            known = {record.peer for record in peer.core.membership.others()}
            share += len(known & ids) / max(1, len(known)) / len(honest)
            lacking += len(honest - known) - 1
        return share, lacking

    @property
    def is_withstood(self) -> bool:
        """Whether all honest peers were one piece all the time, and have all that they were to have."""
        return not (self.pieces or self.missing()[1] or self.old.lost or self.directories()[1])

    def text(self) -> str:
        """What came of it, in lines."""
        wanted, lacking = self.missing()
        share, unknown = self.directories()
        accepted = sum(puppet.neighbours for puppet in self.swarm.puppets)
        return "\n".join(
            (
                f"{len(self.members)} honest peers; {self.swarm.keys} hostile keys in {self.swarm.ranges} /24 of one"
                f" /16, which were neighbours {accepted} times",
                f"  views of those who were there: {self.old.text()}",
                f"  of one that joined: {self.new.text()}",
                f"  of one that came back: {self.back.text()}",
                f"  the honest overlay was in pieces in {self.pieces} of {self.looks} looks",
                f"  delivered among honest peers: {wanted - lacking} of {wanted}",
                f"  directories: {100 * share:.0f} % hostile, lacking {unknown} entries of honest peers",
            )
        )


def is_connected(peers: Sequence[SimPeer]) -> bool:
    """Whether these peers are one piece by links between them alone."""
    by_id = {peer.peer: peer for peer in peers}
    seen, queue = dict.fromkeys(list(by_id)[:1]), list(by_id)[:1]
    while queue:
        for other in by_id[queue.pop()].core.overlay.active:
            if other in by_id and other not in seen:
                seen[other] = None
                queue.append(other)
    return len(seen) == len(by_id)


def eclipse(peers: int, keys: int, ranges: int = 1, seed: int = 0, seconds: int = 60, config: Config = LAN) -> Eclipse:
    """Attack a network of so many honest peers for so long.

    Raises:
        Violated: the network did not come about before the attack.
    """
    world = World(seed, config)
    world.genesis(address=own_range(0))
    for number in range(1, peers):
        world.newcomer(address=own_range(number))
    found = settles(world, JOIN_LIMIT)
    if found:
        raise Violated(*found)
    members = list(world.peers)
    swarm = Swarm(world, keys, ranges)
    victim = world.add(address=own_range(peers))
    result = Eclipse(world, swarm, members, victim, members[-1])
    swarm.attack(*members)
    for second in range(seconds):
        if second == JOINS:
            victim.start()
            victim.join([members[0].address])
            swarm.attack(victim)
        elif second == DIES:
            result.returned.kill()
        elif second == RETURNS:
            result.returned.restart()
        say(world.rng.sample(result.honest, min(SPEAKERS, len(result.honest))))
        world.run(1)
        result.look()
    world.run(CATCH_UP)
    return result
