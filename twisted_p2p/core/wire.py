"""The wire format: every frame, its encoding and its limits. docs/protocol.md says what they mean.

A frame is one JSON object on one line. Its field `title` says which. Unknown fields are ignored, frames with an
unknown title are counted and ignored, anything else that does not fit ends the link.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from twisted_p2p.interfaces import Stream

VERSION = 1

PeerId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
MessageId = PeerId
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
Nonce = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Number = Annotated[int, Meta(ge=0, lt=2**53)]
Seq = Annotated[int, Meta(ge=1, lt=2**52)]
Count = Annotated[int, Meta(ge=1, le=2**52)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Host = Annotated[str, Meta(pattern=r"^[0-9A-Za-z._:%-]{1,253}\Z")]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}\Z")]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Admission = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
"""The proof that its sender has a key of the network (`core.access`); "" without one."""
NetworkName = Annotated[str, Meta(pattern=r"^[!-~]{1,64}\Z")]
Bucket = Annotated[int, Meta(ge=0, lt=256)]
Position = tuple[PeerId, Number, Count]
"""(origin, epoch, the next seq wanted)"""


# --- facts about peers -------------------------------------------------------------------------------------------


class Record(Struct, frozen=True):
    """What a peer says of itself, signed by itself."""

    peer: PeerId
    incarnation: Number
    state: Literal["alive", "left"]
    ip_addr: Host
    port: Port
    sig: Signature
    more: Annotated[str, Meta(pattern=r"^[ !#-\[\]-~]{0,512}\Z")] = ""

    def signed_bytes(self, network: str) -> bytes:
        """The bytes under the signature."""
        return record_bytes(network, self.peer, self.incarnation, self.state, self.ip_addr, self.port, self.more)


class Claim(Struct, frozen=True):
    """An accuser says that `peer`, at this incarnation, has failed. `time`: ms since 1970, of the accuser's clock."""

    peer: PeerId
    incarnation: Number
    accuser: PeerId
    time: Number
    sig: Signature

    def signed_bytes(self, network: str) -> bytes:
        """The bytes under the signature."""
        return claim_bytes(network, self.peer, self.incarnation, self.accuser, self.time)


def _text(*parts: object) -> bytes:
    return "\n".join(map(str, parts)).encode()


def record_bytes(network: str, peer: str, incarnation: int, state: str, host: str, port: int, more: str) -> bytes:
    """What a peer signs to make a Record."""
    return _text("p2p record", network, peer, incarnation, state, host, port, more)


def claim_bytes(network: str, peer: str, incarnation: int, accuser: str, time: int) -> bytes:
    """What an accuser signs to make a Claim."""
    return _text("p2p claim", network, peer, incarnation, accuser, time)


def proof_bytes(network: str, prover: str, judge: str, judges_nonce: str, provers_nonce: str) -> bytes:
    """What a peer signs to prove to `judge`, on this one link, that it holds its key."""
    return _text("p2p proof", network, prover, judge, judges_nonce, provers_nonce)


def bundle_bytes(network: str, origin: str, epoch: int, seq: int, messages: bytes) -> bytes:
    """What an origin signs to make a bundle: the hash of its messages, since Ed25519's own is slow.

    A bundle of 24 KB is checked in 20 us less, and signed in 70 us less.
    """
    return _text("p2p bundle", network, origin, epoch, seq, sha256(messages).hexdigest())


# --- a link ------------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag_field="title", tag="#HELLO"):
    """The first frame in each direction; the one who was dialled answers with its own."""

    version: Number
    network: NetworkName
    record: Record
    nonce: Nonce
    baseline: bool = False
    sample: bool = False
    admission: Admission = ""


class Proof(Struct, frozen=True, tag_field="title", tag="#PROOF"):
    """The second frame in each direction: `proof_bytes`, signed."""

    sig: Signature
    admission: Admission = ""


class Bye(Struct, frozen=True, tag_field="title", tag="#BYE"):
    """Why the sender is about to close the link."""

    reason: Word


class Ping(Struct, frozen=True, tag_field="title", tag="#PING"):
    """Answered by a PONG with the same number, after everything that came before it."""

    n: Number


class Pong(Struct, frozen=True, tag_field="title", tag="#PONG"):
    """The answer to PING `n`."""

    n: Number


# --- the join ----------------------------------------------------------------------------------------------------


class AskRandomNode(Struct, frozen=True, tag_field="title", tag="#ASK_RANDOM_NODE"):
    """Asks for one peer, drawn uniformly from the directory."""


class ResponseRandomNode(Struct, frozen=True, tag_field="title", tag="#RESPONSE_RANDOM_NODE"):
    """That peer; null where there is none but the two of us."""

    node: Record | None


class AskNodesToConnect(Struct, frozen=True, tag_field="title", tag="#ASK_NODES_TO_CONNECT"):
    """Asks for peers that a newcomer may connect to."""


class ConnectableNodes(Struct, frozen=True, tag_field="title", tag="#CONNECTABLE_NODES"):
    """The answering peer and its neighbours."""

    nodes: Annotated[list[Record], Meta(max_length=100)]


class NodeConnAddr(Struct, frozen=True, tag_field="title", tag="#NODE_CONN_ADDR"):
    """Asks to become neighbours on this link. `urgent`: HyParView's high priority, which may not be refused."""

    urgent: bool = False


class NodeConnAnswer(Struct, frozen=True, tag_field="title", tag="#NODE_CONN_ANSWER"):
    """Whether we are neighbours on this link from now on."""

    accepted: bool


class History(Struct, frozen=True):
    """How much of what was broadcast before its join a newcomer wants: what came within `age` seconds, or the newest
    `count` bundles; all that is kept, where both are null."""

    age: Annotated[float, Meta(ge=0)] | None = None
    count: Number | None = None


class GiveNodesInNetwork(Struct, frozen=True, tag_field="title", tag="#GIVE_NODES_IN_NETWORK"):
    """Asks for the directory and the baseline of positions, of peers whose ids come after `after`."""

    after: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")] = ""
    history: History | None = None


class NodesInNetwork(Struct, frozen=True, tag_field="title", tag="#NODES_IN_NETWORK"):
    """A page of the directory: records and failure claims.

    In answer to GIVE_NODES_IN_NETWORK, and only there, it has `streams`: a part of the baseline of positions; `next`
    is then what to ask for next as `after`, null after the last page. In answer to a DIGEST, `again` says that there is
    more: send the DIGEST once more.
    """

    nodes: Annotated[list[Record], Meta(max_length=2000)]
    claims: Annotated[list[Claim], Meta(max_length=2000)] = []
    streams: Annotated[list[Position], Meta(max_length=4000)] | None = None
    next: PeerId | None = None
    again: bool = False
    history: Annotated[list[Position], Meta(max_length=4000)] = []


class Shuffle(Struct, frozen=True, tag_field="title", tag="#SHUFFLE"):
    """A random walk with some of the peers that its sender knows, itself the first; `hops` are still to go."""

    walk: Nonce
    hops: Annotated[int, Meta(ge=1, le=20)]
    nodes: Annotated[list[Record], Meta(max_length=100)]


class Shuffled(Struct, frozen=True, tag_field="title", tag="#SHUFFLED"):
    """The answer from the end of a walk, as many peers at most; it goes back the way that the walk came."""

    walk: Nonce
    nodes: Annotated[list[Record], Meta(max_length=100)]


# --- facts that are flooded --------------------------------------------------------------------------------------


class JoinedInNetwork(Struct, frozen=True, tag_field="title", tag="#JOINED_IN_NETWORK"):
    """A peer is alive, at this address. sender_ip and sender_port repeat the record's."""

    record: Record
    sender_ip: str = ""
    sender_port: int = 0


class Disconnect(Struct, frozen=True, tag_field="title", tag="!DISCONNECT"):
    """A peer has left."""

    record: Record


class FailedInNetwork(Struct, frozen=True, tag_field="title", tag="#FAILED_IN_NETWORK"):
    """A peer is claimed to have failed."""

    claim: Claim


# --- failure detection -------------------------------------------------------------------------------------------


class Suspect(Struct, frozen=True, tag_field="title", tag="#SUSPECT"):
    """Asks a neighbour to try to reach `peer`."""

    peer: PeerId
    incarnation: Number


class Verdict(Struct, frozen=True, tag_field="title", tag="#VERDICT"):
    """The answer to SUSPECT."""

    peer: PeerId
    incarnation: Number
    reached: bool


# --- anti-entropy ------------------------------------------------------------------------------------------------


class Roots(Struct, frozen=True, tag_field="title", tag="#ROOTS"):
    """Hashes of the whole directory and of all positions. `answer`: send yours."""

    nodes: Hash
    streams: Hash
    answer: bool = False


class Digest(Struct, frozen=True, tag_field="title", tag="#DIGEST"):
    """Hashes of the non-empty buckets of the directory or of the positions."""

    of: Literal["nodes", "streams"]
    buckets: Annotated[dict[Annotated[str, Meta(max_length=3)], Hash], Meta(max_length=256)]


class Positions(Struct, frozen=True, tag_field="title", tag="#POSITIONS"):
    """The sender's positions. In answer to a DIGEST: all those in `buckets`, where the digests differ.

    `more`: another page of the same answer follows, with the same `buckets`.
    """

    streams: Annotated[list[Position], Meta(max_length=4000)]
    buckets: Annotated[list[Bucket], Meta(max_length=256)] = []
    more: bool = False


class Frontier(Struct, frozen=True, tag_field="title", tag="#FRONTIER"):
    """Lazy push: the sender's positions of streams that moved."""

    streams: Annotated[list[Position], Meta(max_length=4000)]


class Graft(Struct, frozen=True, tag_field="title", tag="#GRAFT"):
    """Send me these streams from these positions on, and push them from then on. `n` counts a link's GRAFTs."""

    streams: Annotated[list[Position], Meta(max_length=4000)]
    n: Number = 0


class Prune(Struct, frozen=True, tag_field="title", tag="#PRUNE"):
    """Stop pushing on this link; `n` is the number of the last GRAFT that the sender has seen on it."""

    n: Number


class Floor(Struct, frozen=True, tag_field="title", tag="#FLOOR"):
    """The answer to a GRAFT from `asked` on that can't be served: the sender holds only `first` to `next` - 1."""

    origin: PeerId
    epoch: Number
    asked: Count
    first: Count
    next: Count


# --- the payload -------------------------------------------------------------------------------------------------


class Broadcast(Struct, frozen=True, tag_field="title", tag="#BROADCAST"):
    """A bundle. It has one spelling, that of `bundle_line`, and travels and is stored in it."""

    origin: PeerId
    epoch: Number
    seq: Seq
    sig: Signature
    messages: msgspec.Raw

    @property
    def stream(self) -> Stream:
        """(origin, epoch)"""
        return self.origin, self.epoch

    def is_canonical(self, line: bytes) -> bool:
        """Whether `line`, from which this was decoded, is the one spelling."""
        return line == bundle_line(self.origin, self.epoch, self.seq, self.sig, bytes(self.messages))


def bundle_line(origin: str, epoch: int, seq: int, sig: str, messages: bytes) -> bytes:
    """The line of a bundle whose `messages` is an encoded JSON array."""
    head = f'{{"title":"#BROADCAST","origin":"{origin}","epoch":{epoch},"seq":{seq},"sig":"{sig}","messages":'
    return b"%b%b}" % (head.encode(), messages)


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_bundle = msgspec.json.Decoder(Broadcast).decode


def read_bundle(line: bytes) -> Broadcast:
    """The bundle of a line that was checked before."""
    return _decode_bundle(line)


def groups_of(line: bytes) -> list[bytes]:
    """The encoded groups of messages of a bundle of our own."""
    return [bytes(group) for group in _split(_decode_bundle(line).messages)]


Value = TypeVar("Value")
MESSAGES_MAX = 16_384
"""Messages of a bundle: as many as `bundle_bytes` has room for, if each is a digit. Those beyond are not delivered."""


class Group(Struct, Generic[Value], frozen=True):
    """One element of a bundle's `messages`: messages that were broadcast together.

    `id`: of the first; those of the others count up. `time`: seconds since 1970, of the origin's clock.
    """

    id: MessageId
    time: float
    values: list[Value]


# --- bytes to frames and back ------------------------------------------------------------------------------------

Frame = (
    Broadcast
    | Ping
    | Pong
    | Hello
    | Proof
    | Bye
    | AskRandomNode
    | ResponseRandomNode
    | AskNodesToConnect
    | ConnectableNodes
    | NodeConnAddr
    | NodeConnAnswer
    | GiveNodesInNetwork
    | NodesInNetwork
    | Shuffle
    | Shuffled
    | JoinedInNetwork
    | Disconnect
    | FailedInNetwork
    | Suspect
    | Verdict
    | Roots
    | Digest
    | Positions
    | Frontier
    | Graft
    | Prune
    | Floor
)


class _Titled(Struct, frozen=True):
    title: str


BUNDLE = b'{"title":"#BROADCAST",'
"""How each bundle begins."""
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_titled = msgspec.json.Decoder(_Titled)
_titles = frozenset(str(kind.__struct_config__.tag) for kind in Frame.__args__)


class BadFrame(ValueError):
    """A line that is no frame."""


def encode(frame: Frame) -> bytes:
    """The line of `frame`, without its newline."""
    return _encoder.encode(frame)


def decode(line: bytes) -> Frame | None:
    """The frame in `line`; None if it has a title that this version does not know.

    None as well for a bundle that holds more lists in one another than there is stack for: how many that are differs
    from peer to peer, so its relay is not to blame, but its origin.

    Raises:
        BadFrame: it is not a JSON object with a title, lacks what that title requires, or has a name twice.
    """
    frame: Frame | None
    try:
        frame = _decoder.decode(line)
    except RecursionError as error:
        if line.startswith(BUNDLE):
            return None
        raise BadFrame(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            title = _titled.decode(line).title
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadFrame(str(error)) from None
        if title in _titles:
            raise BadFrame(str(error)) from None
        frame = None
    if not isinstance(frame, Broadcast) and _encoder.encode(frame) != line:
        _check_names(line)
    return frame


def _check_names(line: bytes) -> None:
    """No object may have a name twice: which of the two counts would differ from one decoder to the next.

    It costs about what decoding does. What is spelled as our encoder does it, which writes no name twice, and bundles,
    whose spelling is checked in any case, are spared it.
    """
    try:
        _names.decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name comes twice in one object")


_names = json.JSONDecoder(object_pairs_hook=_distinct, parse_int=str, parse_float=str)
