"""Hypothesis strategies for frames: any that the wire format allows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from twisted_p2p.core import wire

HEX = "0123456789abcdef"


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    """So many hex digits."""
    return st.text(HEX, min_size=digits, max_size=digits)


peers = st.integers(0, 255).map(lambda number: f"{number:02x}" * 32) | hexadecimal(64)
signatures = hexadecimal(128)
hashes = hexadecimal(16)
numbers = st.integers(0, 2**53 - 1)
counts = st.integers(1, 2**52)
seqs = st.integers(1, 2**52 - 1)
ports = st.integers(1, 65535)
hosts = st.text("0123456789abcdefghijklmnopqrstuvwxyzABCXYZ._:%-", min_size=1, max_size=253)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
networks = st.text([chr(code) for code in range(33, 127)], min_size=1, max_size=64)
printable = st.text([chr(code) for code in range(32, 127) if chr(code) not in '"\\'], max_size=60)
buckets = st.integers(0, 255)
positions = st.tuples(peers, numbers, counts)
streams = st.lists(positions, max_size=5)
sentences = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)

records = st.builds(
    wire.Record,
    peer=peers,
    incarnation=numbers,
    state=st.sampled_from(["alive", "left"]),
    ip_addr=hosts,
    port=ports,
    sig=signatures,
    more=printable,
)
claims = st.builds(wire.Claim, peer=peers, incarnation=numbers, accuser=peers, time=numbers, sig=signatures)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | sentences,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(sentences, children, max_size=3),
    max_leaves=8,
)


def encode_json(value: Any) -> bytes:
    """As compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


bodies = st.lists(json_values, max_size=3).map(encode_json)
bundles = st.builds(
    wire.Broadcast, origin=peers, epoch=numbers, seq=seqs, sig=signatures, messages=bodies.map(msgspec.Raw)
)

FIELDS: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    wire.Hello: {
        "version": numbers,
        "network": networks,
        "record": records,
        "nonce": hexadecimal(32),
        "baseline": st.booleans(),
        "sample": st.booleans(),
        "admission": st.just("") | hexadecimal(64),
    },
    wire.Proof: {"sig": signatures, "admission": st.just("") | hexadecimal(64)},
    wire.Bye: {"reason": words},
    wire.Ping: {"n": numbers},
    wire.Pong: {"n": numbers},
    wire.AskRandomNode: {},
    wire.ResponseRandomNode: {"node": st.none() | records},
    wire.AskNodesToConnect: {},
    wire.ConnectableNodes: {"nodes": st.lists(records, max_size=3)},
    wire.NodeConnAddr: {"urgent": st.booleans()},
    wire.NodeConnAnswer: {"accepted": st.booleans()},
    wire.GiveNodesInNetwork: {"after": st.just("") | peers},
    wire.NodesInNetwork: {
        "nodes": st.lists(records, max_size=3),
        "claims": st.lists(claims, max_size=3),
        "streams": st.none() | streams,
        "next": st.none() | peers,
        "again": st.booleans(),
    },
    wire.Shuffle: {
        "walk": hexadecimal(32),
        "hops": st.integers(min_value=1, max_value=20),
        "nodes": st.lists(records, max_size=3),
    },
    wire.Shuffled: {"walk": hexadecimal(32), "nodes": st.lists(records, max_size=3)},
    wire.JoinedInNetwork: {"record": records, "sender_ip": sentences, "sender_port": st.integers()},
    wire.Disconnect: {"record": records},
    wire.FailedInNetwork: {"claim": claims},
    wire.Suspect: {"peer": peers, "incarnation": numbers},
    wire.Verdict: {"peer": peers, "incarnation": numbers, "reached": st.booleans()},
    wire.Roots: {"nodes": hashes, "streams": hashes, "answer": st.booleans()},
    wire.Digest: {
        "of": st.sampled_from(["nodes", "streams"]),
        "buckets": st.dictionaries(buckets.map(str), hashes, max_size=5),
    },
    wire.Positions: {"streams": streams, "buckets": st.lists(buckets, max_size=5), "more": st.booleans()},
    wire.Frontier: {"streams": streams},
    wire.Graft: {"streams": streams, "n": numbers},
    wire.Prune: {"n": numbers},
    wire.Floor: {"origin": peers, "epoch": numbers, "asked": counts, "first": seqs, "next": counts},
}
"""How to make each frame but the bundle."""

frames = st.one_of([st.builds(kind, **fields) for kind, fields in FIELDS.items()])
"""Any frame but a bundle."""
