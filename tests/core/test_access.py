"""Who may join: proofs of the network's key, and lists of peers and addresses. Rows are of the case list."""

from __future__ import annotations

import ipaddress
from itertools import product

import attrs
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import NETWORK, OWN, Line, Puppet, Stage, peer_id
from twisted_p2p.core import wire
from twisted_p2p.core.access import Access, Objection, PeerList, Role, admission, derive_key
from twisted_p2p.core.actions import Dial, Kind, Reason
from twisted_p2p.core.config import LAN

OLD, NEW, OTHER = (derive_key(secret, NETWORK) for secret in (b"old" * 16, b"new" * 16, b"other" * 16))
BINDING = b"\x07" * 32
HOST = "10.0.1.16"
STEPS = ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,))
"""How a network changes its key, without a moment in which two neighbouring steps do not understand each other."""


def listed(*texts: str) -> PeerList:
    """A list of ids, addresses and ranges."""
    ids = [text for text in texts if len(text) == 64]
    return PeerList.of(ids, [ipaddress.ip_network(text) for text in texts if len(text) != 64])


class ProofTests(SynchronousTestCase):
    """A proof is good for one end of one connection."""

    def test_derived(self) -> None:
        """The same secret makes another key in each network, and none of them is the secret."""
        secret = b"secret" * 8
        keys = {derive_key(secret, network) for network in ("p2p", "p2p2", "test")}
        self.assertEqual(len(keys), 3)
        self.assertEqual({len(key) for key in keys}, {32})

    def test_all_of_it_counts(self) -> None:
        """Whatever is different makes another proof."""
        good = (OLD, Role.DIALLER, OWN, peer_id(1), "exporter 00")
        others = (
            (NEW, *good[1:]),
            (OLD, Role.DIALLED, *good[2:]),
            (OLD, Role.DIALLER, peer_id(1), OWN, good[4]),
            (*good[:4], "exporter 01"),
            (*good[:4], "nonces 00"),
        )
        proofs = {admission(*arguments) for arguments in (good, *others)}
        self.assertEqual(len(proofs), 6)

    def test_which_key(self) -> None:
        """Which of several keys was proven is found, or what is wrong."""
        for proven, accepted in product((OLD, NEW, OTHER), STEPS):
            proof = admission(proven, Role.DIALLER, OWN, peer_id(1), "exporter 00")
            found = Access(accepted).proven_key(proof, Role.DIALLER, OWN, peer_id(1), "exporter 00")
            self.assertEqual(found, proven if proven in accepted else Objection.WRONG_KEY)
        arguments = (Role.DIALLER, OWN, peer_id(1), "exporter 00")
        self.assertEqual(Access((OLD,)).proven_key("", *arguments), Objection.NO_KEY)
        self.assertEqual(Access().proven_key("", *arguments), b"")
        self.assertEqual(Access().proven_key("0" * 64, *arguments), Objection.KEY_UNWANTED)

    def test_not_shown(self) -> None:
        """No key is in what is printed of a link or of the rules."""
        stage = Stage(access=Access((OLD,)))
        line = TLSLine.inbound(stage, Puppet(0x10))
        line.send(line.keyed_hello(OLD))
        link = stage.core.links.by_id[line.number]
        self.assertEqual(link.key, OLD)
        for shown in (repr(link), repr(stage.core.links.access), str(stage.refused)):
            for secret in (OLD, BINDING):
                self.assertNotIn(repr(secret), shown)
                self.assertNotIn(secret.hex(), shown)


class TLSLine(Line):
    """A connection that proves whose key the puppet holds."""

    binding = BINDING

    @classmethod
    def inbound(cls, stage: Stage, puppet: Puppet, binding: bytes = BINDING, host: str = HOST) -> TLSLine:
        """The puppet connects."""
        return cls._up(stage, puppet, None, binding, host)

    @classmethod
    def dialled(cls, stage: Stage, puppet: Puppet, dial: Dial, binding: bytes = BINDING) -> TLSLine:
        """The puppet is what a dial of the core finds."""
        return cls._up(stage, puppet, dial, binding, dial.host)

    @classmethod
    def _up(cls, stage: Stage, puppet: Puppet, dial: Dial | None, binding: bytes, host: str) -> TLSLine:
        stage._numbers += 1
        line = cls(stage, puppet, stage._numbers)
        stage.lines[line.number], line.binding = line, binding
        number = None if dial is None else dial.dial
        stage.perform(stage.core.link_up(line.number, number, stage.now, host, proves=True))
        assert line.peek() == [] or line.ended is not None
        stage.perform(stage.core.link_secured(line.number, puppet.peer, stage.now, binding))
        return line

    def admission(self, key: bytes, role: Role = Role.DIALLER) -> str:
        """The puppet's proof that it has a key."""
        return admission(key, role, self.puppet.peer, OWN, f"exporter {self.binding.hex()}")

    def keyed_hello(self, key: bytes, role: Role = Role.DIALLER) -> wire.Hello:
        """The puppet's HELLO, with that proof."""
        return self.hello_with(self.admission(key, role))

    def hello_with(self, proof: str) -> wire.Hello:
        """The puppet's HELLO, with any proof."""
        return msgspec.structs.replace(self.hello(), admission=proof)


class AccessCase(SynchronousTestCase):
    """What the tests of refusals have in common."""

    def setUp(self) -> None:
        """A puppet."""
        self.puppet = Puppet(0x10)

    def check_refused(self, line: Line, why: Objection) -> None:
        """It was told nothing but that it is not admitted, and our user why."""
        self.assertEqual(
            [frame for frame in line.peek() if not isinstance(frame, wire.Hello)], [wire.Bye("not-admitted")]
        )
        assert line.ended is not None
        self.assertEqual(line.ended.reason, Reason.NOT_ADMITTED)
        self.assertEqual(line.stage.refused[-1].why, why)
        self.assertFalse(line.stage.core.membership.is_alive(line.puppet.peer))

    def check_open(self, line: Line) -> None:
        """The link is open."""
        self.assertIsNone(line.ended)
        self.assertTrue(line.stage.core.links.by_id[line.number].is_open)

    def dial_of(self, stage: Stage, puppet: Puppet) -> Dial:
        """The core learns of a puppet and dials it."""
        stage.core.membership.merge([puppet.record()])
        stage.pass_time(3)
        [dial] = [dial for dial in stage.take_dials() if (dial.host, dial.port) == puppet.address][:1]
        return dial


class KeyTests(AccessCase):
    """Only who has a key of the network is admitted, where the connection proves who the peers are (row 25)."""

    def test_inbound(self) -> None:
        """Who proves the key is answered by a proof of the same key, for the other end."""
        for keys, key in ((STEPS[0], OLD), (STEPS[1], OLD), (STEPS[1], NEW), (STEPS[2], OLD), (STEPS[3], NEW)):
            stage = Stage(access=Access(keys))
            line = TLSLine.inbound(stage, self.puppet)
            self.assertEqual(line.take(), [])
            line.send(line.keyed_hello(key))
            [hello] = line.take_kind(wire.Hello)
            assert isinstance(hello, wire.Hello)
            expected = admission(key, Role.DIALLED, OWN, self.puppet.peer, f"exporter {BINDING.hex()}")
            self.assertEqual(hello.admission, expected)
            self.check_open(line)
            self.assertEqual(stage.refused, [])

    def test_outbound(self) -> None:
        """We prove our first key to whom we dial, once the connection has proven who it is, and accept any of ours."""
        for keys, answer in product(STEPS, (OLD, NEW)):
            stage = Stage(access=Access(keys))
            line = TLSLine.dialled(stage, self.puppet, self.dial_of(stage, self.puppet))
            [hello] = line.take()
            assert isinstance(hello, wire.Hello)
            expected = admission(keys[0], Role.DIALLER, OWN, self.puppet.peer, f"exporter {BINDING.hex()}")
            self.assertEqual(hello.admission, expected)
            line.send(line.keyed_hello(answer, Role.DIALLED))
            if answer in keys:
                self.check_open(line)
            else:
                self.assertEqual(stage.refused[-1].why, Objection.WRONG_KEY)
                self.assertIsNotNone(line.ended)

    def test_refused(self) -> None:
        """With another key, or none, or one where none is wanted, nobody hears anything of us but that."""
        for keys, key, why in (
            ((OLD,), OTHER, Objection.WRONG_KEY),
            ((OLD,), None, Objection.NO_KEY),
            ((), OLD, Objection.KEY_UNWANTED),
        ):
            stage = Stage(access=Access(keys))
            line = TLSLine.inbound(stage, self.puppet)
            line.send(line.hello() if key is None else line.keyed_hello(key))
            self.assertEqual([type(frame) for frame in line.peek()], [wire.Bye])
            self.check_refused(line, why)

    def test_captured(self) -> None:
        """A proof that was seen on one connection is worth nothing on another one."""
        stage = Stage(access=Access((OLD,)))
        first = TLSLine.inbound(stage, self.puppet)
        proof = first.admission(OLD)
        second = TLSLine.inbound(stage, self.puppet, binding=b"\x08" * 32)
        second.send(second.hello_with(proof))
        self.check_refused(second, Objection.WRONG_KEY)
        first.send(first.hello_with(proof))
        self.check_open(first)

    def test_anothers(self) -> None:
        """A proof that somebody else has made for itself is worth nothing."""
        stage = Stage(access=Access((OLD,)))
        line, other = TLSLine.inbound(stage, self.puppet), TLSLine.inbound(stage, Puppet(0x20))
        line.send(line.hello_with(other.admission(OLD)))
        self.check_refused(line, Objection.WRONG_KEY)

    def test_reflected(self) -> None:
        """Whom we dial can't send our own proof back, nor one that a dialler made."""
        stage = Stage(access=Access((OLD,)))
        for reflect in (True, False):
            puppet = Puppet(0x30 + reflect)
            line = TLSLine.dialled(stage, puppet, self.dial_of(stage, puppet))
            [hello] = line.take()
            assert isinstance(hello, wire.Hello)
            line.send(line.hello_with(hello.admission if reflect else line.admission(OLD, Role.DIALLER)))
            assert line.ended is not None
            self.assertEqual((line.ended.reason, stage.refused[-1].why), (Reason.NOT_ADMITTED, Objection.WRONG_KEY))

    def test_unbound(self) -> None:
        """A connection that has nothing of its own to bind a proof to is not used with a key."""
        for keys, reason in (((OLD,), Reason.NO_TLS), ((), None)):
            stage = Stage(access=Access(keys))
            line = TLSLine.inbound(stage, self.puppet, binding=b"")
            self.assertEqual(line.ended.reason if line.ended else None, reason)

    def test_somebody_elses_record(self) -> None:
        """The key does not let anybody in under another name."""
        stage = Stage(access=Access((OLD,)))
        line = TLSLine.inbound(stage, self.puppet)
        line.send(msgspec.structs.replace(line.keyed_hello(OLD), record=Puppet(0x20).record()))
        assert line.ended is not None
        self.assertEqual(line.ended.reason, Reason.BAD_SIGNATURE)

    def test_own_address(self) -> None:
        """Who has dialled itself hears that, though its own lists do not have it."""
        stage = Stage(access=Access((OLD,), allow=listed(peer_id(0x20))), joined=False)
        stage.perform(stage.core.join([("10.0.0.1", 5050)], stage.now))
        [dial] = stage.take_dials()
        line = TLSLine.dialled(stage, Puppet(0x80), dial)
        [hello] = line.take()
        assert isinstance(hello, wire.Hello)
        back = TLSLine.inbound(stage, Puppet(0x80))
        back.send(hello)
        self.assertEqual(back.take(), [wire.Bye("own-address")])
        line.send(wire.Bye("own-address"))
        self.assertEqual([*stage.core.links.own_addresses], [("10.0.0.1", 5050)])


class PlaintextKeyTests(AccessCase):
    """The same where the peers prove their keys themselves: the network's key is bound to both nonces (row 25)."""

    def admission(self, line: Line, theirs: str, key: bytes, role: Role) -> str:
        """The puppet's proof that it has a key."""
        nonces = (line.nonce, theirs) if role is Role.DIALLER else (theirs, line.nonce)
        return admission(key, role, line.puppet.peer, OWN, "nonces {} {}".format(*nonces))

    def proof(self, line: Line, hello: wire.Frame, key: bytes | None, role: Role = Role.DIALLER) -> wire.Proof:
        """The puppet's PROOF of both keys."""
        assert isinstance(hello, wire.Hello)
        proof = "" if key is None else self.admission(line, hello.nonce, key, role)
        return msgspec.structs.replace(line.puppet.proof(OWN, hello.nonce, line.nonce), admission=proof)

    def test_inbound(self) -> None:
        """The dialled end proves nothing before the dialler has, and then the same key."""
        for keys, key in product(STEPS, (OLD, NEW)):
            stage = Stage(access=Access(keys))
            line = stage.connect(self.puppet)
            line.send(line.hello())
            [hello] = line.take()
            assert isinstance(hello, wire.Hello)
            self.assertEqual(hello.admission, "")
            line.send(self.proof(line, hello, key))
            if key not in keys:
                self.check_refused(line, Objection.WRONG_KEY)
                continue
            [proof] = line.take_kind(wire.Proof)
            assert isinstance(proof, wire.Proof)
            expected = admission(key, Role.DIALLED, OWN, self.puppet.peer, f"nonces {line.nonce} {hello.nonce}")
            self.assertEqual(proof.admission, expected)
            self.check_open(line)

    def test_outbound(self) -> None:
        """Whom we dial hears our proof first, and must give its own."""
        for keys, answer in product(STEPS, (OLD, NEW, None)):
            stage = Stage(access=Access(keys))
            line = stage.connect(self.puppet, self.dial_of(stage, self.puppet))
            [hello] = line.take()
            line.send(line.hello())
            [proof] = line.take()
            assert isinstance(hello, wire.Hello) and isinstance(proof, wire.Proof)
            expected = admission(keys[0], Role.DIALLER, OWN, self.puppet.peer, f"nonces {hello.nonce} {line.nonce}")
            self.assertEqual(proof.admission, expected)
            line.send(self.proof(line, hello, answer, Role.DIALLED))
            if answer in keys:
                self.check_open(line)
            else:
                assert line.ended is not None
                self.assertEqual(line.ended.reason, Reason.NOT_ADMITTED)

    def test_refused(self) -> None:
        """Without the key, or with one where none is wanted, the link does not open."""
        for keys, key, why in (((OLD,), None, Objection.NO_KEY), ((), OLD, Objection.KEY_UNWANTED)):
            stage = Stage(access=Access(keys))
            line = stage.connect(self.puppet)
            line.send(line.hello())
            [hello] = line.take_kind(wire.Hello)
            line.send(self.proof(line, hello, key))
            self.check_refused(line, why)

    def test_captured(self) -> None:
        """A proof that was overheard is worth nothing on another connection, nor is our own sent back."""
        stage = Stage(access=Access((OLD,)))
        first = stage.connect(self.puppet)
        first.send(first.hello())
        [hello] = first.take()
        seen = self.proof(first, hello, OLD)
        first.send(seen)
        self.check_open(first)
        [ours] = first.take_kind(wire.Proof)
        assert isinstance(ours, wire.Proof)
        for stolen in (seen.admission, ours.admission):
            line = stage.connect(Puppet(0x20))
            line.nonce = first.nonce
            line.send(line.hello())
            [hello] = line.take()
            line.send(msgspec.structs.replace(self.proof(line, hello, None), admission=stolen))
            self.check_refused(line, Objection.WRONG_KEY)

    def test_early_proof(self) -> None:
        """A proof in HELLO, where it is bound to nothing yet, counts for nothing."""
        stage = Stage(access=Access((OLD,)))
        line = stage.connect(self.puppet)
        line.send(
            msgspec.structs.replace(line.hello(), admission=admission(OLD, Role.DIALLER, self.puppet.peer, OWN, ""))
        )
        [hello] = line.take()
        line.send(self.proof(line, hello, None))
        self.check_refused(line, Objection.NO_KEY)


class ReloadTests(AccessCase):
    """The rules change while links are up."""

    def test_rotation(self) -> None:
        """In any two neighbouring steps each may dial the other (row 26)."""
        for here, there in [(n, n + d) for n in range(4) for d in (-1, 0, 1) if 0 <= n + d < 4]:
            stage = Stage(access=Access(STEPS[here]))
            inbound = TLSLine.inbound(stage, self.puppet)
            inbound.send(inbound.keyed_hello(STEPS[there][0]))
            self.check_open(inbound)
            other = Puppet(0x20)
            line = TLSLine.dialled(stage, other, self.dial_of(stage, other))
            [hello] = line.take()
            assert isinstance(hello, wire.Hello)
            proven = Access(STEPS[there]).proven_key(
                hello.admission, Role.DIALLER, OWN, other.peer, f"exporter {BINDING.hex()}"
            )
            assert isinstance(proven, bytes)
            line.send(line.keyed_hello(proven, Role.DIALLED))
            self.check_open(line)

    def test_retired(self) -> None:
        """A link ends as soon as the key that opened it is not valid any more; others go on."""
        stage = Stage(access=Access(STEPS[1]))
        old, new = TLSLine.inbound(stage, self.puppet), TLSLine.inbound(stage, Puppet(0x20), b"\x09" * 32)
        old.send(old.keyed_hello(OLD))
        new.send(new.keyed_hello(NEW))
        stage.perform(stage.core.admit(Access(STEPS[2]), stage.now))
        self.check_open(old)
        stage.perform(stage.core.admit(Access(STEPS[3]), stage.now))
        self.assertEqual(old.ended.reason if old.ended else None, Reason.NOT_ADMITTED)
        self.assertEqual(stage.refused[-1].why, Objection.KEY_RETIRED)
        self.check_open(new)

    def test_opened_and_closed(self) -> None:
        """A network that gets its first key, or gives up its last, drops the links that were made before."""
        for before, after, why in (((), (OLD,), Objection.NO_KEY), ((OLD,), (), Objection.KEY_UNWANTED)):
            stage = Stage(access=Access(before))
            line = TLSLine.inbound(stage, self.puppet)
            line.send(line.keyed_hello(OLD) if before else line.hello())
            self.check_open(line)
            stage.perform(stage.core.admit(Access(after), stage.now))
            self.assertEqual(line.ended.reason if line.ended else None, Reason.NOT_ADMITTED)
            self.assertEqual(stage.refused[-1].why, why)

    def test_denied_later(self) -> None:
        """Whoever is denied now is hung up on, be it by its id or by where it is, open or not."""
        for deny in (self.puppet.peer, HOST, "10.0.0.0/8"):
            stage = Stage()
            line, silent = TLSLine.inbound(stage, self.puppet), TLSLine.inbound(stage, self.puppet)
            line.send(line.hello())
            bystander = TLSLine.inbound(stage, Puppet(0x20), host="192.0.2.1")
            bystander.send(bystander.hello())
            stage.perform(stage.core.admit(Access(deny=listed(deny)), stage.now))
            for each in (line, silent):
                self.assertEqual(each.ended.reason if each.ended else None, Reason.NOT_ADMITTED)
            self.check_open(bystander)

    def test_forgiven(self) -> None:
        """Who refused us is dialled again at once when our rules have changed."""
        stage = Stage(access=Access((OLD,)))
        line = TLSLine.dialled(stage, self.puppet, self.dial_of(stage, self.puppet))
        line.send(wire.Bye("not-admitted"))
        record = self.puppet.record()
        self.assertFalse(stage.core.links.may_dial(record))
        stage.perform(stage.core.admit(Access((NEW,)), stage.now))
        self.assertTrue(stage.core.links.may_dial(record))


class ListTests(AccessCase):
    """Peers are let in, or not, by their id and by their address."""

    def test_admitted(self) -> None:
        """An allow list lets in whom it names by id or by address; who is denied stays out in any case."""
        allow = listed(self.puppet.peer, "192.0.2.0/24")
        for peer, host, deny, why in (
            (self.puppet, "10.9.9.9", (), None),
            (Puppet(0x20), "192.0.2.77", (), None),
            (Puppet(0x20), "::ffff:192.0.2.77", (), None),
            (Puppet(0x20), "10.9.9.9", (), Objection.NOT_ALLOWED),
            (Puppet(0x20), "2001:db8::1", (), Objection.NOT_ALLOWED),
            (self.puppet, "10.9.9.9", (self.puppet.peer,), Objection.DENIED),
            (self.puppet, "10.9.9.9", ("10.9.0.0/16",), Objection.DENIED),
            (Puppet(0x20), "192.0.2.77", ("192.0.2.77",), Objection.DENIED),
        ):
            stage = Stage(access=Access(allow=allow, deny=listed(*deny)))
            line = TLSLine.inbound(stage, peer, host=host)
            if line.ended is None:
                line.send(line.hello())
            if why is None:
                self.check_open(line)
            else:
                self.check_refused(line, why)

    def test_plaintext(self) -> None:
        """Without TLS a peer is refused by the id that it claims, and let in only by one that it proves."""
        stage = Stage(access=Access(allow=listed(self.puppet.peer), deny=listed(peer_id(0x20))))
        for number, why in ((0x20, Objection.DENIED), (0x30, Objection.NOT_ALLOWED)):
            line = stage.connect(Puppet(number))
            line.send(line.hello())
            self.check_refused(line, why)
        thief = stage.connect(self.puppet)
        thief.send(thief.hello())
        thief.send(wire.Proof("0" * 128))
        self.assertEqual(thief.ended.reason if thief.ended else None, Reason.BAD_SIGNATURE)
        self.check_open(stage.meet(self.puppet))

    def test_found_by_dialling(self) -> None:
        """Who turns out to be somebody else, whom we do not admit, is not even introduced to us."""
        stage = Stage(access=Access(deny=listed(peer_id(0x20))))
        line = TLSLine.dialled(stage, Puppet(0x20), self.dial_of(stage, self.puppet))
        self.check_refused(line, Objection.DENIED)

    def test_not_dialled(self) -> None:
        """Whom the lists leave out we do not dial, for whatever purpose, and do not declare failed."""
        for access in (
            Access(deny=listed(self.puppet.peer)),
            Access(deny=listed(self.puppet.address[0])),
            Access(allow=listed(peer_id(0x20))),
            Access(allow=listed("192.0.2.0/24")),
        ):
            stage = Stage(access=access)
            stage.core.membership.merge([self.puppet.record()])
            stage.pass_time(120)
            self.assertEqual(stage.take_dials(), [])
            self.assertEqual(stage.told(Kind.FAILED), [])
            self.assertEqual(stage.core.detection.suspicions, {})

    def test_probes_go_to_others(self) -> None:
        """The probes that it does not get others get."""
        stage = Stage(access=Access(deny=listed(self.puppet.peer)))
        other = Puppet(0x20)
        stage.core.membership.merge([self.puppet.record(), other.record()])
        stage.pass_time(1 + 1.2 * LAN.probe_interval)
        self.assertEqual({(dial.host, dial.port) for dial in stage.take_dials()}, {other.address})

    def test_genesis(self) -> None:
        """A genesis at an address that we deny ourselves is not dialled, and the user hears why."""
        stage = Stage(access=Access(deny=listed("10.0.1.0/24")), joined=False)
        stage.perform(stage.core.join([self.puppet.address], stage.now))
        stage.pass_time(10)
        self.assertEqual(stage.take_dials(), [])
        self.assertEqual({change.reason for change in stage.changes if change.kind is Kind.RETRY}, {"not-admitted"})

    def test_name(self) -> None:
        """Behind a name any address may be: it is dialled, and judged once it is known."""
        for access in (Access(deny=listed("10.0.1.0/24")), Access(allow=listed("192.0.2.0/24"))):
            stage = Stage(access=access, joined=False)
            stage.perform(stage.core.join([("peer.example", 7)], stage.now))
            [dial] = stage.take_dials()
            line = TLSLine.dialled(stage, self.puppet, attrs.evolve(dial, host=HOST))
            self.assertEqual(line.ended.reason if line.ended else None, Reason.NOT_ADMITTED)

    @given(st.lists(st.ip_addresses(network="10.0.0.0/24") | st.ip_addresses(v=6)), st.integers(0, 8))
    def test_ranges(self, hosts: list[ipaddress.IPv4Address | ipaddress.IPv6Address], shorter: int) -> None:
        """Whoever is in one of the ranges is named, and nobody else."""
        prefixes = [(host, host.max_prefixlen - shorter) for host in hosts[::2]]
        ranges = [ipaddress.ip_network(prefix, strict=False) for prefix in prefixes]
        found = PeerList.of((), ranges)
        for host in hosts:
            mapped = isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None
            if not mapped:
                self.assertEqual(found.names("", str(host)), any(host in each for each in ranges))


class NotDeadTests(AccessCase):
    """Who refuses us, or whom we refuse, is there."""

    def refuse(self, stage: Stage, found: Puppet | None = None, is_tls: bool = True) -> None:
        """A dial of the core to the puppet finds it, or another one, which does not admit us."""
        dial = self.dial_of(stage, self.puppet)
        line: Line
        line = TLSLine.dialled(stage, found or self.puppet, dial) if is_tls else stage.connect(self.puppet, dial)
        line.send(wire.Bye("not-admitted"))

    def test_answers(self) -> None:
        """Who answers that it does not admit us is not suspected, with TLS or without, and our user hears of it."""
        for is_tls in (True, False):
            stage = Stage()
            self.refuse(stage, is_tls=is_tls)
            stage.pass_time(1)
            self.assertEqual(stage.core.detection.suspicions, {})
            self.assertEqual(
                [(each.peer, each.why) for each in stage.refused], [(self.puppet.peer, Objection.REFUSES_US)]
            )

    def test_another(self) -> None:
        """Somebody else at its address, who does not admit us, can't speak for it."""
        stage = Stage()
        self.refuse(stage, found=Puppet(0x30))
        self.assertEqual([*stage.core.detection.suspicions], [self.puppet.peer])

    def test_witness(self) -> None:
        """Asked about it we say that it is there, if that is proven, and otherwise nothing; nor do we later."""
        for is_tls, said in ((True, [True]), (False, [])):
            stage = Stage()
            asker = stage.befriend(Puppet(0x20))
            stage.core.membership.merge([self.puppet.record()])
            stage.take_dials()
            asker.send(wire.Suspect(self.puppet.peer, self.puppet.record().incarnation))
            asker.take()
            [dial] = [dial for dial in stage.take_dials() if (dial.host, dial.port) == self.puppet.address]
            line: Line
            line = TLSLine.dialled(stage, self.puppet, dial) if is_tls else stage.connect(self.puppet, dial)
            line.send(wire.Bye("not-admitted"))
            asker.send(wire.Suspect(self.puppet.peer, self.puppet.record().incarnation))
            verdicts = [frame.reached for frame in asker.take_kind(wire.Verdict) if isinstance(frame, wire.Verdict)]
            self.assertEqual(verdicts, said)

    def test_denied_witness(self) -> None:
        """Asked about somebody whom we deny we say nothing."""
        stage = Stage(access=Access(deny=listed(self.puppet.peer)))
        asker = stage.befriend(Puppet(0x20))
        stage.core.membership.merge([self.puppet.record()])
        asker.send(wire.Suspect(self.puppet.peer, self.puppet.record().incarnation))
        stage.pass_time(10)
        self.assertEqual(asker.take_kind(wire.Verdict), [])

    def test_neighbour(self) -> None:
        """A neighbour that is denied, or denies us, from now on is lost, and not suspected."""
        for by_us in (True, False):
            stage = Stage()
            line = stage.befriend(self.puppet)
            if by_us:
                stage.perform(stage.core.admit(Access(deny=listed(self.puppet.peer)), stage.now))
            else:
                line.send(wire.Bye("not-admitted"))
            self.assertEqual(stage.core.overlay.active, {})
            stage.pass_time(1)
            self.assertEqual(stage.core.detection.suspicions, {})
            [down] = [change for change in stage.changes if change.kind is Kind.LINK_DOWN]
            self.assertEqual(down.reason, "not-admitted")

    def test_suspicion_ends(self) -> None:
        """Whom we had suspected before we denied it we do not declare failed."""
        stage = Stage()
        stage.fail(self.dial_of(stage, self.puppet))
        self.assertEqual([*stage.core.detection.suspicions], [self.puppet.peer])
        stage.perform(stage.core.admit(Access(deny=listed(self.puppet.peer)), stage.now))
        stage.pass_time(300)
        self.assertEqual(stage.core.detection.suspicions, {})
        self.assertEqual(stage.told(Kind.FAILED), [])

    def test_pause(self) -> None:
        """Who refuses us is dialled more and more rarely."""
        stage = Stage()
        dials = []
        stage.core.membership.merge([self.puppet.record()])
        while stage.now < 1_600_000_000 + 600:
            stage.pass_time(1)
            for dial in stage.take_dials():
                dials.append(stage.now)
                TLSLine.dialled(stage, self.puppet, dial).send(wire.Bye("not-admitted"))
        self.assertLess(len(dials), 40)
        self.assertGreater(len(dials), 15)
        self.assertEqual(stage.told(Kind.FAILED), [])
