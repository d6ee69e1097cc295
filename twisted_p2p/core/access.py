"""Who may join: who proves a key of the network, and whom the lists of peers and addresses let in.

A proof is an HMAC (RFC 2104) over what is special to one connection, so it is worth nothing on any other one, nor from
anybody else, nor sent back to its maker.
"""

from __future__ import annotations

import enum
import hmac
import ipaddress
from collections.abc import Iterable

import attrs

from twisted_p2p.core.groups import address_in

KEYS_MAX = 8
"""Keys that a network may have at once: each proof that comes is tried with all of them."""

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


class Role(str, enum.Enum):
    """Which end of a connection somebody is."""

    DIALLER = "dialler"
    DIALLED = "dialled"


class Objection(str, enum.Enum):
    """Why two are not linked, in words for our own user. Whom we refuse hears nothing of it but that."""

    NO_KEY = "it has no network key, and this peer has one"
    WRONG_KEY = "its network key is none of ours"
    KEY_UNWANTED = "it has a network key, and this peer has none"
    KEY_RETIRED = "its network key is not valid any more"
    DENIED = "it is on the deny list"
    NOT_ALLOWED = "it is not on the allow list"
    REFUSES_US = "it does not admit this peer; check the network key of both, and its allow and deny lists"


def derive_key(secret: bytes, network: str) -> bytes:
    """The key with which a network's proofs are made, 32 bytes; of the same secret each network has another one."""
    return hmac.digest(secret, f"p2p network key\n{network}".encode(), "sha256")


def admission(key: bytes, role: Role, prover: str, judge: str, binding: str) -> str:
    """The proof, for one connection, that its maker has a key of the network; 64 hex digits.

    Args:
        key: from `derive_key`.
        role: of the prover.
        binding: what only this connection has.
    """
    text = "\n".join(("p2p admission", role.value, prover, judge, binding))
    return hmac.digest(key, text.encode(), "sha256").hex()


@attrs.define(eq=False)
class PeerList:
    """Peers, by their id or by where they are. Looking one up takes as long as there are lengths of ranges.

    Attributes:
        peers: their ids.
    """

    peers: frozenset[str] = frozenset()
    _ranges: dict[tuple[int, int], set[int]] = attrs.field(factory=dict)
    """By IP version and prefix length, the numbers of which the prefixes consist."""

    @classmethod
    def of(cls, peers: Iterable[str] = (), ranges: Iterable[Range] = ()) -> PeerList:
        """A list of these peers' ids and ranges of addresses; one address is a range, too."""
        numbers: dict[tuple[int, int], set[int]] = {}
        for each in ranges:
            number = int(each.network_address) >> each.max_prefixlen - each.prefixlen
            numbers.setdefault((each.version, each.prefixlen), set()).add(number)
        return cls(frozenset(peers), numbers)

    @property
    def has_ranges(self) -> bool:
        """Whether it names anybody by address."""
        return bool(self._ranges)

    def names(self, peer: str, host: str) -> bool:
        """Whether this peer is in it, or this host. "" is nobody, and a host that is a name is nowhere."""
        if peer in self.peers:
            return True
        address = address_in(host) if self._ranges else None
        if address is None:
            return False
        number, bits = int(address), address.max_prefixlen
        return any(
            number >> bits - length in prefixes
            for (version, length), prefixes in self._ranges.items()
            if version == address.version
        )


@attrs.frozen(eq=False)
class Access:
    """Whom one peer admits.

    Attributes:
        keys: from `derive_key`; the first is the one that we prove with, all are accepted. None: the network is open.
        allow: only these; None: everybody.
        deny: not these, also where `allow` has them.
    """

    keys: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    allow: PeerList | None = None
    deny: PeerList = attrs.field(factory=PeerList)

    @property
    def is_listed(self) -> bool:
        """Whether there are lists at all."""
        return self.allow is not None or bool(self.deny.peers) or self.deny.has_ranges

    def may_meet(self, peer: str, host: str) -> bool:
        """Whether a connection is worth making, or taking, before it is certain who and where the other end is.

        Args:
            peer: whom we expect; "": anybody.
            host: an address, or a name, of which the address is still unknown.
        """
        if self.deny.names(peer, host):
            return False
        if self.allow is None or self.allow.names(peer, host):
            return True
        return (not peer and bool(self.allow.peers)) or (self.allow.has_ranges and address_in(host) is None)

    def listed_against(self, peer: str, host: str) -> Objection | None:
        """What the lists have against a peer, with this address at its end of the connection."""
        if self.deny.names(peer, host):
            return Objection.DENIED
        if self.allow is not None and not self.allow.names(peer, host):
            return Objection.NOT_ALLOWED
        return None

    def proven_key(self, proof: str, role: Role, prover: str, judge: str, binding: str) -> bytes | Objection:
        """The key of ours with which the other end has made this proof; b"" where it has none, and needs none.

        Args:
            role: of the other end, the prover.
        """
        if not self.keys:
            return Objection.KEY_UNWANTED if proof else b""
        for key in self.keys:
            if hmac.compare_digest(admission(key, role, prover, judge, binding), proof):
                return key
        return Objection.WRONG_KEY if proof else Objection.NO_KEY

    def accepts_key(self, key: bytes) -> bool:
        """Whether a link whose other end has proven this key may go on."""
        return key in self.keys if self.keys else not key
