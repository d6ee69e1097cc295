"""Signatures for simulated peers: cheap, and no secret."""

from __future__ import annotations

from hashlib import blake2b

import attrs
from zope.interface import implementer

from twisted_p2p.interfaces import ISigner, IVerifier


@implementer(ISigner)
@attrs.define(eq=False)
class CheapSigner:
    """Signs with a hash: it tells changed bytes, in a microsecond, and keeps no secret."""

    peer: str

    def sign(self, data: bytes) -> str:
        """128 hex digits."""
        return cheap_signature(self.peer, data)


@implementer(IVerifier)
class CheapVerifier:
    """Checks the signatures of CheapSigner."""

    def verify(self, peer: str, data: bytes, signature: str) -> bool:
        """Whether it is the one."""
        return signature == cheap_signature(peer, data)


@implementer(IVerifier)
@attrs.define(eq=False)
class CountingVerifier:
    """Checks signatures by another verifier, and counts how many."""

    verifier: IVerifier
    checks: int = 0

    def verify(self, peer: str, data: bytes, signature: str) -> bool:
        """Whether that one finds it good."""
        self.checks += 1
        return self.verifier.verify(peer, data, signature)


def cheap_signature(peer: str, data: bytes) -> str:
    """What stands for a signature in a simulated world."""
    return blake2b(data, key=bytes.fromhex(peer)).hexdigest()
