"""Who a peer is: only the holder of a key signs for it, and a check never raises."""

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.core.puppet import Puppet
from twisted_p2p.core import wire
from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
from twisted_p2p.interfaces import ISigner, IVerifier

SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SIGNED_EMPTY = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
"""RFC 8032, section 7.1, test 1: the empty message."""


class IdentityTests(SynchronousTestCase):
    """Keys, and what is signed with them."""

    def setUp(self) -> None:
        """The key of the RFC's first test."""
        self.signer = Ed25519Signer(SigningKey(bytes.fromhex(SECRET)))
        self.verifier = Ed25519Verifier()

    def test_interfaces(self) -> None:
        """They are what the core asks for."""
        self.assertTrue(verifyObject(ISigner, self.signer))
        self.assertTrue(verifyObject(IVerifier, self.verifier))

    def test_standard(self) -> None:
        """Ids and signatures are Ed25519's, in hexadecimal, so that other programs can make and check them."""
        self.assertEqual(self.signer.peer, PUBLIC)
        self.assertEqual(self.signer.sign(b""), SIGNED_EMPTY)
        self.assertTrue(self.verifier.verify(PUBLIC, b"", SIGNED_EMPTY))

    def test_secret_is_not_shown(self) -> None:
        """Whoever prints a signer, or logs a failure with all variables, does not print its key."""
        signer = self.signer
        try:
            raise ValueError(f"{signer} failed")
        except ValueError:
            shown = repr([frame[3] for frame in Failure(captureVars=True).frames])
        seed = bytes.fromhex(SECRET)
        self.assertIn("Ed25519Signer", shown)
        for text in (repr(signer), str(signer), shown):
            for form in (SECRET, SECRET.upper(), repr(seed)[2:-1], base64.b64encode(seed).decode()[:-1]):
                self.assertNotIn(form, text)

    def test_fit_the_wire(self) -> None:
        """A real id and a real signature are what the wire format allows."""
        record = wire.Record(PUBLIC, 1, "alive", "127.0.0.1", 5050, SIGNED_EMPTY)
        self.assertEqual(wire.decode(wire.encode(wire.Disconnect(record))), wire.Disconnect(record))

    def test_every_peer_is_another(self) -> None:
        """Two peers that just start are two, and neither signs for the other."""
        one, two = Ed25519Signer(), Ed25519Signer()
        self.assertNotEqual(one.peer, two.peer)
        signature = one.sign(b"hello")
        self.assertTrue(self.verifier.verify(one.peer, b"hello", signature))
        self.assertFalse(self.verifier.verify(two.peer, b"hello", signature))

    @settings(max_examples=30)
    @given(st.binary(max_size=100), st.data())
    def test_any_change(self, text: bytes, data: st.DataObject) -> None:
        """With a bit changed in what was signed, the signature or the id, it was not signed."""
        signer, verifier = Ed25519Signer(), Ed25519Verifier()
        parts = [bytes.fromhex(signer.peer), text, bytes.fromhex(signer.sign(text))]
        self.assertTrue(verifier.verify(parts[0].hex(), parts[1], parts[2].hex()))
        which = data.draw(st.sampled_from([number for number in range(3) if parts[number]]))
        bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
        changed = bytearray(parts[which])
        changed[bit // 8] ^= 1 << bit % 8
        parts[which] = bytes(changed)
        self.assertFalse(verifier.verify(parts[0].hex(), parts[1], parts[2].hex()))

    def test_seed(self) -> None:
        """The seed of a key makes the same peer again."""
        signer = Ed25519Signer()
        again = Ed25519Signer.from_seed(signer.seed)
        self.assertEqual((again.peer, again.sign(b"x"), len(signer.seed)), (signer.peer, signer.sign(b"x"), 32))
        self.assertRaises(ValueError, Ed25519Signer.from_seed, b"short")

    @given(st.text(max_size=140), st.text(max_size=140))
    def test_nonsense(self, peer: str, signature: str) -> None:
        """Text that is no id, or no signature, has signed nothing; nothing is raised."""
        verifier = Ed25519Verifier()
        self.assertIs(verifier.verify(peer, b"", signature), False)
        self.assertIs(verifier.verify(PUBLIC, b"", signature), False)
        self.assertIs(verifier.verify(peer, b"", SIGNED_EMPTY), False)

    def test_no_keys(self) -> None:
        """Ids that are no good keys have signed nothing: whoever could take them could sign for anybody."""
        for peer in ("00" * 32, "01" + "00" * 31, "ff" * 32, "ec" + "ff" * 30 + "7f"):
            for signature in ("00" * 64, "01" + "00" * 63, peer + "00" * 32):
                self.assertFalse(self.verifier.verify(peer, b"", signature), (peer, signature))

    def test_many_peers(self) -> None:
        """Having met very many peers it still tells their signatures, and has not kept all their keys."""
        signer = Ed25519Signer()
        signature = signer.sign(b"x")
        keys: dict[str, Any] = self.verifier._keys
        most = 0
        for number in range(10_500):
            self.verifier.verify(f"{number:064x}", b"", "")
            most = max(most, len(keys))
        self.assertTrue(self.verifier.verify(signer.peer, b"x", signature))
        self.assertLessEqual(most, 10_000)

    def test_not_like_the_simulators(self) -> None:
        """The cheap signatures of simulated worlds are none here."""
        puppet = Puppet(0x10)
        self.assertFalse(self.verifier.verify(puppet.peer, b"x", puppet.signer.sign(b"x")))
