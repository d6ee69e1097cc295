"""The wire format: what is a frame, what is not, and what a signature covers."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core import frames
from tests.core.puppet import Puppet, peer_id
from twisted_p2p.core import wire
from twisted_p2p.sim.signing import CheapVerifier

NETWORK = "test"
PEER, SIG = peer_id(0xAB), "5a" * 64
RECORD = wire.Record(PEER, 3, "alive", "10.0.0.1", 5050, SIG)
CLAIM = wire.Claim(PEER, 3, peer_id(0xCD), 1_600_000_000_000, SIG)

EXAMPLES: list[wire.Frame] = [
    wire.Hello(1, "p2p", RECORD, "0" * 32, True),
    wire.Proof(SIG),
    wire.Bye("leaving"),
    wire.Ping(1),
    wire.Pong(1),
    wire.ResponseRandomNode(RECORD),
    wire.ConnectableNodes([RECORD]),
    wire.NodeConnAddr(True),
    wire.NodeConnAnswer(True),
    wire.GiveNodesInNetwork(PEER, wire.History(3600.0, 1000)),
    wire.NodesInNetwork([RECORD], [CLAIM], [(PEER, 1, 1)], PEER, True, [(PEER, 1, 1)]),
    wire.JoinedInNetwork(RECORD, "10.0.0.1", 5050),
    wire.Disconnect(RECORD),
    wire.FailedInNetwork(CLAIM),
    wire.Suspect(PEER, 3),
    wire.Verdict(PEER, 3, True),
    wire.Roots("0" * 16, "1" * 16, True),
    wire.Digest("nodes", {"171": "0" * 16}),
    wire.Positions([(PEER, 1, 1)], [171], True),
    wire.Frontier([(PEER, 1, 1)]),
    wire.Graft([(PEER, 1, 1)], 2),
    wire.Prune(2),
    wire.Floor(PEER, 1, 1, 2, 3),
]
"""One of each frame that has fields, bundles apart."""

TITLES = {
    wire.Hello: "#HELLO",
    wire.Proof: "#PROOF",
    wire.Bye: "#BYE",
    wire.Ping: "#PING",
    wire.Pong: "#PONG",
    wire.AskRandomNode: "#ASK_RANDOM_NODE",
    wire.ResponseRandomNode: "#RESPONSE_RANDOM_NODE",
    wire.AskNodesToConnect: "#ASK_NODES_TO_CONNECT",
    wire.ConnectableNodes: "#CONNECTABLE_NODES",
    wire.NodeConnAddr: "#NODE_CONN_ADDR",
    wire.NodeConnAnswer: "#NODE_CONN_ANSWER",
    wire.GiveNodesInNetwork: "#GIVE_NODES_IN_NETWORK",
    wire.NodesInNetwork: "#NODES_IN_NETWORK",
    wire.Shuffle: "#SHUFFLE",
    wire.Shuffled: "#SHUFFLED",
    wire.JoinedInNetwork: "#JOINED_IN_NETWORK",
    wire.Disconnect: "!DISCONNECT",
    wire.FailedInNetwork: "#FAILED_IN_NETWORK",
    wire.Suspect: "#SUSPECT",
    wire.Verdict: "#VERDICT",
    wire.Roots: "#ROOTS",
    wire.Digest: "#DIGEST",
    wire.Positions: "#POSITIONS",
    wire.Frontier: "#FRONTIER",
    wire.Graft: "#GRAFT",
    wire.Prune: "#PRUNE",
    wire.Floor: "#FLOOR",
    wire.Broadcast: "#BROADCAST",
}


def spelt(frame: wire.Frame, **changes: Any) -> bytes:
    """The line of a frame with other values in some fields."""
    return json.dumps(json.loads(wire.encode(frame)) | changes).encode()


class RoundTripTests(SynchronousTestCase):
    """What one peer encodes is what the other decodes."""

    @given(frames.frames)
    def test_every_frame(self, frame: wire.Frame) -> None:
        """A frame arrives as it was sent, on one line."""
        line = wire.encode(frame)
        self.assertNotIn(b"\n", line)
        self.assertEqual(wire.decode(line), frame)

    @given(frames.bundles)
    def test_bundle(self, bundle: wire.Broadcast) -> None:
        """A bundle arrives as it was sent, in its one spelling."""
        line = wire.bundle_line(bundle.origin, bundle.epoch, bundle.seq, bundle.sig, bytes(bundle.messages))
        self.assertNotIn(b"\n", line)
        decoded = wire.decode(line)
        assert isinstance(decoded, wire.Broadcast)
        self.assertEqual(
            (decoded.stream, decoded.seq, decoded.sig, bytes(decoded.messages)),
            (bundle.stream, bundle.seq, bundle.sig, bytes(bundle.messages)),
        )
        self.assertTrue(decoded.is_canonical(line))

    def test_titles(self) -> None:
        """The titles are those of the documentation, the first version's among them; no frame is without a test."""
        kinds = set(wire.Frame.__args__)
        self.assertEqual(kinds, set(TITLES))
        self.assertEqual(kinds, {*frames.FIELDS, wire.Broadcast})
        for kind, title in TITLES.items():
            self.assertEqual(kind.__struct_config__.tag, title)

    @given(frames.frames, st.dictionaries(frames.sentences.map("x".__add__), frames.json_values, max_size=3))
    def test_unknown_fields(self, frame: wire.Frame, more: dict[str, Any]) -> None:
        """A later version may add fields to any frame."""
        self.assertEqual(wire.decode(spelt(frame, **more)), frame)

    @given(frames.frames, st.randoms(use_true_random=False))
    def test_order_of_fields(self, frame: wire.Frame, rng: Any) -> None:
        """Fields may come in any order, and with spaces."""
        fields = list(json.loads(wire.encode(frame)).items())
        rng.shuffle(fields)
        self.assertEqual(wire.decode(json.dumps(dict(fields), indent=1).replace("\n", "\t").encode()), frame)

    @given(frames.sentences.filter(lambda title: title not in TITLES.values()), frames.json_values)
    def test_unknown_title(self, title: str, value: Any) -> None:
        """A frame of a later version is no fault."""
        line = json.dumps({"title": title, "n": value, "record": 5}).encode()
        self.assertIsNone(wire.decode(line))


class LimitTests(SynchronousTestCase):
    """Every field has its limits, and each is kept."""

    def refuse(self, frame: wire.Frame, **changes: Any) -> None:
        """The frame is taken, but not with these changes."""
        self.assertEqual(wire.decode(spelt(frame)), frame)
        self.assertRaises(wire.BadFrame, wire.decode, spelt(frame, **changes))

    def allow(self, frame: wire.Frame, **changes: Any) -> None:
        """The frame is taken with these changes."""
        self.assertIsNotNone(wire.decode(spelt(frame, **changes)))

    def test_missing_fields(self) -> None:
        """A frame that lacks what its title requires is refused; what has a default may be absent."""
        for frame in EXAMPLES:
            names, defaults = frame.__struct_fields__, frame.__struct_defaults__
            optional = names[len(names) - len(defaults) :]
            fields = json.loads(wire.encode(frame))
            for name in fields:
                line = json.dumps({other: value for other, value in fields.items() if other != name}).encode()
                if name in optional:
                    self.assertIsInstance(wire.decode(line), type(frame))
                else:
                    self.assertRaises(wire.BadFrame, wire.decode, line)

    def test_wrong_types(self) -> None:
        """A field of another type is refused, wherever it is."""
        for frame in EXAMPLES:
            for name, value in json.loads(wire.encode(frame)).items():
                for other in (None, True, 1.5, "x", [1], {"a": 1}):
                    nullable = other is None and (
                        name in ("node", "next")
                        or (name == "history" and isinstance(frame, wire.GiveNodesInNetwork))
                        or (name == "streams" and isinstance(frame, wire.NodesInNetwork))
                    )
                    same = type(other) is type(value) or (other == "x" and name == "sender_ip")
                    if not nullable and not same and not (isinstance(value, dict) and other == {"a": 1}):
                        self.refuse(frame, **{name: other})

    def test_numbers(self) -> None:
        """Numbers are whole, not negative, and below 2**53, which every JSON reader can express."""
        for frame, name in [(wire.Ping(1), "n"), (wire.Suspect(PEER, 1), "incarnation"), (EXAMPLES[0], "version")]:
            for good in (0, 2**53 - 1):
                self.allow(frame, **{name: good})
            for bad in (-1, 2**53, 2**64, 10**30, 1.0, 1e300, True, "1"):
                self.refuse(frame, **{name: bad})

    def test_seq(self) -> None:
        """Seqs and positions begin at 1; after every bundle there is room for the position that follows."""
        self.allow(wire.Floor(PEER, 1, 1, 2, 3), asked=1, first=1, next=1)
        for name in ("asked", "first", "next"):
            self.refuse(wire.Floor(PEER, 1, 1, 2, 3), **{name: 0})
        self.refuse(wire.Frontier([(PEER, 1, 1)]), streams=[[PEER, 1, 0]])
        self.allow(wire.Frontier([(PEER, 1, 1)]), streams=[[PEER, 1, 2**52]])
        self.assertIsNotNone(wire.decode(wire.bundle_line(PEER, 1, 2**52 - 1, SIG, b"[]")))
        for seq in (0, -1, 2**52):
            self.assertRaises(wire.BadFrame, wire.decode, wire.bundle_line(PEER, 1, seq, SIG, b"[]"))

    def test_hexadecimal(self) -> None:
        """Ids, signatures, nonces and hashes are lower-case hexadecimal of one length, and nothing besides."""
        for frame, name, good in [
            (wire.Suspect(PEER, 1), "peer", PEER),
            (wire.Proof(SIG), "sig", SIG),
            (EXAMPLES[0], "nonce", "0" * 32),
            (wire.Roots("0" * 16, "1" * 16), "nodes", "0" * 16),
        ]:
            self.allow(frame, **{name: good})
            for bad in ("", good[1:], good + "0", good.replace(good[0], "A"), "g" + good[1:], good + "\n", " " + good):
                self.refuse(frame, **{name: bad})

    def test_addresses(self) -> None:
        """An address is a host of harmless letters and a port that exists."""
        fields = json.loads(wire.encode(wire.Disconnect(RECORD)))["record"]
        for good in ("127.0.0.1", "::1", "fe80::1%eth0", "peer-1.example.org", "a" * 253):
            self.allow(wire.Disconnect(RECORD), record=fields | {"ip_addr": good})
        for bad in ("", "a" * 254, "a b", "a/b", "a\n", "user@host", "hôte", "[::1]"):
            self.refuse(wire.Disconnect(RECORD), record=fields | {"ip_addr": bad})
        for bad_port in (0, -1, 65536, 70000):
            self.refuse(wire.Disconnect(RECORD), record=fields | {"port": bad_port})
        self.allow(wire.Disconnect(RECORD), record=fields | {"port": 65535})

    def test_words(self) -> None:
        """Reasons, names of networks and states are what the documentation says."""
        for bad in ("", "Leaving", "a b", "a" * 41, "é", "bye\n"):
            self.refuse(wire.Bye("bye"), reason=bad)
        for bad in ("", "a b", "n" * 65, "netz\n", "réseau"):
            self.refuse(EXAMPLES[0], network=bad)
        self.refuse(wire.Digest("nodes", {}), of="peers")
        self.refuse(wire.Disconnect(RECORD), record=json.loads(msgspec.json.encode(RECORD)) | {"state": "failed"})
        record = json.loads(msgspec.json.encode(RECORD))
        self.allow(wire.Disconnect(RECORD), record=record | {"more": "x" * 512})
        for bad in ("x" * 513, "\n", "\u0000", "é", '"', "\\"):
            self.refuse(wire.Disconnect(RECORD), record=record | {"more": bad})

    def test_lists(self) -> None:
        """No list is so long that reading it costs more than its sender pays."""
        position, record = [PEER, 1, 1], json.loads(msgspec.json.encode(RECORD))
        claim = json.loads(msgspec.json.encode(CLAIM))
        for frame, name, item, limit in [
            (wire.Frontier([]), "streams", position, 4000),
            (wire.Graft([]), "streams", position, 4000),
            (wire.Positions([]), "streams", position, 4000),
            (wire.Positions([]), "buckets", 1, 256),
            (wire.ConnectableNodes([]), "nodes", record, 100),
            (wire.NodesInNetwork([]), "nodes", record, 2000),
            (wire.NodesInNetwork([]), "claims", claim, 2000),
            (wire.NodesInNetwork([]), "streams", position, 4000),
            (wire.NodesInNetwork([]), "history", position, 4000),
        ]:
            self.allow(frame, **{name: [item] * limit})
            self.refuse(frame, **{name: [item] * (limit + 1)})
        self.allow(wire.Digest("nodes", {}), buckets={str(n): "0" * 16 for n in range(256)})
        self.refuse(wire.Digest("nodes", {}), buckets={str(n): "0" * 16 for n in range(257)})
        self.refuse(wire.Digest("nodes", {}), buckets={"1000": "0" * 16})

    def test_positions_are_triples(self) -> None:
        """A position has an origin, an epoch and a seq, no less and no more."""
        for bad in ([PEER, 1], [PEER, 1, 1, 1], [1, 1, PEER], {"origin": PEER}, []):
            self.refuse(wire.Frontier([(PEER, 1, 1)]), streams=[bad])


class MalformedTests(SynchronousTestCase):
    """Whatever arrives is a frame or raises BadFrame; nothing else comes out."""

    def refuse(self, *lines: bytes) -> None:
        """Each of these lines is no frame."""
        for line in lines:
            self.assertRaises(wire.BadFrame, wire.decode, line)

    @given(st.binary(max_size=200))
    def test_noise(self, line: bytes) -> None:
        """Noise is refused."""
        self.refuse(line)

    @given(frames.frames, st.data())
    def test_a_changed_byte(self, frame: wire.Frame, data: st.DataObject) -> None:
        """A frame in which a byte was changed is another frame, or none: nothing else can come of it."""
        line = bytearray(wire.encode(frame))
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
        try:
            decoded = wire.decode(bytes(line))
        except wire.BadFrame:
            return
        self.assertTrue(decoded is None or type(decoded) in TITLES)

    @given(frames.frames, st.data())
    def test_truncated(self, frame: wire.Frame, data: st.DataObject) -> None:
        """Half a frame is none."""
        line = wire.encode(frame)
        self.refuse(line[: data.draw(st.integers(0, len(line) - 1))])

    def test_not_json(self) -> None:
        """What other protocols say first is no frame."""
        self.refuse(
            b"",
            b" ",
            b"GET / HTTP/1.1",
            b"SSH-2.0-OpenSSH_9.2",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b'0000000042{"title": "#PING"}',
            b"{'title': '#PING', 'n': 1}",
            b'{"title":"#PING","n":1',
            b'{"title":"#PING","n":1,}',
            b'{"title":"#PING","n":1} {}',
            b'{"title":"#PING","n":1}\x00',
            b'{"title":"#PING","n":01}',
            b'{"title":"#PING","n":0x1}',
            b'{"title":"#PING",/**/"n":1}',
        )

    def test_no_object(self) -> None:
        """JSON that is no object, or has no title, is no frame."""
        self.refuse(b"[]", b"[1]", b'"#PING"', b"5", b"null", b"true", b"{}", b'{"n":1}')
        self.refuse(b'{"title":null}', b'{"title":5}', b'{"title":["#PING"],"n":1}')

    def test_numbers_that_are_none(self) -> None:
        """NaN and infinities are refused, however they are spelt: no timer and no application ever meets one."""
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"nan"):
            self.refuse(b'{"title":"#PING","n":%b}' % number)
            self.refuse(b'{"title":"#FLOOR","origin":"%b","epoch":1,"first":1,"next":%b}' % (PEER.encode(), number))
        for number in (b"NaN", b"Infinity", b"-Infinity"):
            self.refuse(b'{"title":"#PING","n":1,"x":%b}' % number, b'{"title":"#NEW","x":%b}' % number)

    def test_huge_numbers(self) -> None:
        """A number of five thousand digits is refused where we read it, and harmless where we do not."""
        huge = b"9" * 5000
        self.refuse(b'{"title":"#PING","n":%b}' % huge)
        self.refuse(b'{"title":"#JOINED_IN_NETWORK","record":{},"sender_port":%b}' % huge)
        line = spelt(EXAMPLES[11]).replace(b'"sender_port": 5050', b'"sender_port": ' + huge)
        self.assertIn(huge, line)
        self.refuse(line)
        self.assertEqual(wire.decode(b'{"title":"#PING","n":1,"x":%b}' % huge), wire.Ping(1))

    def test_deep_nesting(self) -> None:
        """A hundred thousand lists in one another are refused; in a bundle, whose relay is not to blame, ignored."""
        deep = b"[" * 100_000
        closed = deep + b"]" * 100_000
        self.refuse(deep, closed)
        for value in (deep, closed):
            self.refuse(b'{"title":"#PING","n":1,"x":%b}' % value)
            self.refuse(b'{"title":"#NEW","x":%b}' % value)
            self.assertIsNone(wire.decode(wire.bundle_line(PEER, 1, 1, SIG, value)))

    def test_text_that_is_none(self) -> None:
        """Text that UTF-8 can't express, or that is no UTF-8, is refused where we read it."""
        self.refuse(b'{"title":"#P\xffNG","n":1}', b'{"title":"\\ud800"}', b'{"title":"\\udc00\\ud800","n":1}')
        for text in (b"\\ud800", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"):
            line = spelt(EXAMPLES[11]).replace(b'"sender_ip": "10.0.0.1"', b'"sender_ip": "%b"' % text)
            self.assertIn(text, line)
            self.refuse(line)
            line = spelt(EXAMPLES[11]).replace(b'"more": ""', b'"more": "%b"' % text)
            self.assertIn(text, line)
            self.refuse(line)

    def test_other_encodings(self) -> None:
        """UTF-16, UTF-32 and a byte order mark are refused."""
        text = '{"title":"#PING","n":1}'
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            self.refuse(text.encode(encoding))

    def test_two_titles(self) -> None:
        """A frame with two titles is refused, so that no two readers see two frames in it."""
        self.refuse(b'{"title":"#PING","title":"#PONG","n":1}', b'{"title":"#PONG","n":1,"title":"#PING"}')
        self.refuse(b'{"title":"#PING","title":"#NEW","n":1}', b'{"title":"#NEW","title":"#PING","n":1}')

    def test_a_name_twice(self) -> None:
        """A name twice in one object is refused wherever and however spelt: readers differ in which of them counts."""
        for line in (b'{"title":"#PING","n":1,"n":2}', b'{"n":1,"title":"#PING","n":1}'):
            self.refuse(line)
        self.refuse(b'{"title":"#PING","n":1,"\\u006e":2}', b'{"title":"#PING","n":1,"x":[{"y":1,"y":1}]}')
        self.refuse(b'{"title":"#NEW","n":1,"n":2}')
        line = wire.encode(wire.JoinedInNetwork(RECORD))
        self.refuse(line.replace(b'"port":5050', b'"port":5050,"port":6666'))
        self.refuse(line.replace(b'"more":""', b'"more":"","state":"left"'))
        self.refuse(wire.encode(wire.Digest("nodes", {"1": "0" * 16})).replace(b'{"1"', b'{"1":"%b","1"' % (b"0" * 16)))
        self.assertEqual(wire.decode(b'{"title":"#PING","n":1,"x":{"n":{"n":2}}}'), wire.Ping(1))


class CanonicalTests(SynchronousTestCase):
    """A bundle has one spelling; whatever is changed in it shows."""

    def setUp(self) -> None:
        """A bundle."""
        self.origin = Puppet(0xAB, NETWORK)
        self.line = self.origin.bundle(3, "h\u00e9llo \U0001f600".encode().decode("latin-1"))

    def is_good(self, line: bytes) -> bool:
        """Whether a peer would take this line for what its origin has broadcast."""
        try:
            frame = wire.decode(line)
        except wire.BadFrame:
            return False
        if not isinstance(frame, wire.Broadcast) or not frame.is_canonical(line):
            return False
        data = wire.bundle_bytes(NETWORK, *frame.stream, frame.seq, bytes(frame.messages))
        return CheapVerifier().verify(frame.origin, data, frame.sig)

    def test_as_it_was_made(self) -> None:
        """The line that the origin made is taken."""
        self.assertTrue(self.is_good(self.line))

    def test_any_byte_changed(self) -> None:
        """With any one bit of any one byte changed, or one byte more or fewer, it is not taken."""
        line = self.line
        for place in range(len(line)):
            for bit in range(8):
                changed = line[:place] + bytes([line[place] ^ (1 << bit)]) + line[place + 1 :]
                self.assertFalse(self.is_good(changed), changed)
            self.assertFalse(self.is_good(line[:place] + line[place + 1 :]))
            self.assertFalse(self.is_good(line[:place] + b" " + line[place:]))
        self.assertFalse(self.is_good(line + b" "))

    @given(st.data())
    def test_any_change(self, data: st.DataObject) -> None:
        """With a piece replaced by any other bytes it is not taken."""
        line = Puppet(0xAB, NETWORK).bundle(3)
        begin = data.draw(st.integers(0, len(line)))
        end = data.draw(st.integers(begin, len(line)))
        changed = line[:begin] + data.draw(st.binary(max_size=10)) + line[end:]
        if changed != line:
            self.assertFalse(self.is_good(changed))

    def test_other_spellings(self) -> None:
        """The same bundle in another spelling is not taken, though JSON makes no difference."""
        fields = json.loads(self.line)
        self.assertFalse(self.is_good(json.dumps(fields).encode()))
        self.assertFalse(self.is_good(self.line[:-1] + b',"more":1}'))
        self.assertFalse(self.is_good(self.line.replace(b'"seq":3', b'"seq":3,"seq":3')))
        self.assertFalse(self.is_good(self.line.replace(b"#BROADCAST", b"#BROADCAS\\u0054", 1)))
        self.assertFalse(self.is_good(self.line.replace(b'"messages":', b'"messages":[],"messages":')))
        self.assertFalse(self.is_good(self.line + b"\r"))


class SignedBytesTests(SynchronousTestCase):
    """A signature covers the network and every field, and is good for one purpose only."""

    def different(self, *texts: bytes) -> None:
        """No two are equal."""
        self.assertEqual(len(set(texts)), len(texts))

    def test_bundle(self) -> None:
        """A bundle is of one network, origin, epoch and seq, and has these messages."""
        self.different(
            wire.bundle_bytes("n", PEER, 1, 2, b"[]"),
            wire.bundle_bytes("m", PEER, 1, 2, b"[]"),
            wire.bundle_bytes("n", peer_id(1), 1, 2, b"[]"),
            wire.bundle_bytes("n", PEER, 2, 2, b"[]"),
            wire.bundle_bytes("n", PEER, 1, 3, b"[]"),
            wire.bundle_bytes("n", PEER, 12, 2, b"[]"),
            wire.bundle_bytes("n", PEER, 1, 22, b"[]"),
            wire.bundle_bytes("n", PEER, 1, 2, b"[1]"),
        )

    def test_record(self) -> None:
        """A record is of one network, and says each of its fields."""
        changes: list[dict[str, Any]] = [
            {},
            {"peer": peer_id(1)},
            {"incarnation": 4},
            {"state": "left"},
            {"ip_addr": "10.0.0.2"},
            {"port": 5051},
            {"more": "x"},
        ]
        texts = [msgspec.structs.replace(RECORD, **change).signed_bytes("n") for change in changes]
        self.different(*texts, RECORD.signed_bytes("m"))
        covered = {name for change in changes for name in change} | {"sig"}
        self.assertEqual(covered, set(RECORD.__struct_fields__))

    def test_claim(self) -> None:
        """A claim is of one network, and says each of its fields."""
        changes: list[dict[str, Any]] = [
            {},
            {"peer": peer_id(1)},
            {"incarnation": 4},
            {"accuser": peer_id(2)},
            {"time": 5},
        ]
        texts = [msgspec.structs.replace(CLAIM, **change).signed_bytes("n") for change in changes]
        self.different(*texts, CLAIM.signed_bytes("m"))
        covered = {name for change in changes for name in change} | {"sig"}
        self.assertEqual(covered, set(CLAIM.__struct_fields__))

    def test_proof(self) -> None:
        """A proof is from one peer to another, for one connection of one network, and not the one back."""
        a, b = peer_id(1), peer_id(2)
        self.different(
            wire.proof_bytes("n", a, b, "0", "1"),
            wire.proof_bytes("n", b, a, "0", "1"),
            wire.proof_bytes("n", b, a, "1", "0"),
            wire.proof_bytes("n", a, b, "1", "0"),
            wire.proof_bytes("n", a, b, "0", "2"),
            wire.proof_bytes("n", a, b, "2", "1"),
            wire.proof_bytes("n", a, peer_id(3), "0", "1"),
            wire.proof_bytes("m", a, b, "0", "1"),
        )

    @given(frames.networks, frames.numbers, frames.numbers, frames.bodies)
    def test_purposes(self, network: str, one: int, two: int, body: bytes) -> None:
        """What was signed for one purpose is never good for another."""
        bundle = wire.bundle_bytes(network, PEER, one, two, body)
        record = wire.record_bytes(network, PEER, one, "alive", "h", 1, body.decode())
        claim = wire.claim_bytes(network, PEER, one, PEER, two)
        proof = wire.proof_bytes(network, PEER, PEER, "0" * 32, "1" * 32)
        self.different(*(text.split(b"\n", 1)[0] for text in (bundle, record, claim, proof)))

    @given(frames.networks, frames.networks, frames.bodies, frames.bodies)
    def test_no_two_readings(self, network: str, other: str, body: bytes, other_body: bytes) -> None:
        """No two bundles have the same signed bytes."""
        one = wire.bundle_bytes(network, PEER, 1, 2, body)
        two = wire.bundle_bytes(other, PEER, 1, 2, other_body)
        self.assertEqual(one == two, (network, body) == (other, other_body))
