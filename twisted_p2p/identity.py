"""Who a peer is: an Ed25519 key (RFC 8032), by PyNaCl; the public key in hexadecimal is the peer's id."""

from __future__ import annotations

import attrs
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey
from zope.interface import implementer

from twisted_p2p.interfaces import ISigner, IVerifier

_CACHED_KEYS = 10_000


@implementer(ISigner)
@attrs.define(eq=False)
class Ed25519Signer:
    """A private key, in memory; `_key` makes it a given one."""

    _key: SigningKey = attrs.field(factory=SigningKey.generate, repr=False)
    peer: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.peer = self._key.verify_key.encode().hex()

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Signer:
        """The key of these 32 bytes, which are to be kept secret."""
        return cls(SigningKey(seed))

    @property
    def seed(self) -> bytes:
        """The 32 bytes that make this key again."""
        return self._key.encode()

    def sign(self, data: bytes) -> str:
        """Sign `data`; 128 hex digits."""
        return self._key.sign(data).signature.hex()


@implementer(IVerifier)
@attrs.define(eq=False)
class Ed25519Verifier:
    """Checks signatures; keeps the keys of peers that it has met, up to a bound."""

    _keys: dict[str, VerifyKey] = attrs.field(factory=dict)

    def verify(self, peer: str, data: bytes, signature: str) -> bool:
        """Whether `peer` signed `data`. Text that is no key or no signature has signed nothing."""
        try:
            key = self._keys.get(peer)
            if key is None:
                key = VerifyKey(bytes.fromhex(peer))
                if len(self._keys) >= _CACHED_KEYS:
                    self._keys.clear()
                self._keys[peer] = key
            key.verify(data, bytes.fromhex(signature))
        except (BadSignatureError, CryptoError, ValueError):
            return False
        return True
