"""A peer without twisted_p2p: joins a network, says one thing, shows what the others say. See docs/protocol.md.

    python docs/examples/minimal_peer.py HOST:PORT [TEXT]

HOST:PORT is a genesis, or any other peer, of a network without encryption (--plaintext). It needs only PyNaCl (pip
install pynacl). Ctrl-C leaves the network.
It keeps no log and wants one neighbour: it takes part, and helps nobody to catch up.
"""

import json
import secrets
import socket
import sys
import threading
import time
from hashlib import sha256

from nacl.signing import SigningKey, VerifyKey

KEY, NETWORK, START = SigningKey.generate(), "p2p", int(time.time() * 1000)
ME = KEY.verify_key.encode().hex()


def sign(*parts):
    return KEY.sign("\n".join(map(str, parts)).encode()).signature.hex()


def check(peer, sig, *parts):
    VerifyKey(bytes.fromhex(peer)).verify("\n".join(map(str, parts)).encode(), bytes.fromhex(sig))


def record(incarnation, state):
    host, port = listener.getsockname()[:2]
    sig = sign("p2p record", NETWORK, ME, incarnation, state, host, port, "")
    return {"peer": ME, "incarnation": incarnation, "state": state, "ip_addr": host, "port": port, "sig": sig}


def send(link, title, **fields):
    link.sendall(json.dumps({"title": title, **fields}).encode() + b"\n")


def frames(link, dialled):
    """Shake hands, answer pings, and give every frame with its title and its line."""
    hello = {"version": 1, "network": NETWORK, "record": record(START, "alive"), "nonce": secrets.token_hex(16)}
    if dialled:
        send(link, "#HELLO", **hello)
    for line in link.makefile(encoding="utf-8", newline="\n"):
        frame = json.loads(line)
        if frame["title"] == "#HELLO":
            peer, nonces = frame["record"]["peer"], (frame["nonce"], hello["nonce"])
            if not dialled:
                send(link, "#HELLO", **hello)
            send(link, "#PROOF", sig=sign("p2p proof", NETWORK, ME, peer, *nonces))
        elif frame["title"] == "#PROOF":
            check(peer, frame["sig"], "p2p proof", NETWORK, peer, ME, *reversed(nonces))
        elif frame["title"] == "#PING":
            send(link, "#PONG", n=frame["n"])
        yield frame["title"], frame, line.rstrip("\n")


def serve(link):
    """Who dials us wants to see that we live, or to know whom to join, or a neighbour: we have one already."""
    for title, _, _ in frames(link, dialled=False):
        if title == "#ASK_NODES_TO_CONNECT":
            send(link, "#CONNECTABLE_NODES", nodes=[neighbour])
        elif title == "#NODE_CONN_ADDR":
            send(link, "#NODE_CONN_ANSWER", accepted=False)


def listen():
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()


def say(link, seq, text):
    group = {"id": secrets.token_hex(32), "time": round(time.time(), 3), "values": [text]}
    body = json.dumps([group])
    sig = sign("p2p bundle", NETWORK, ME, START, seq, sha256(body.encode()).hexdigest())
    head = f'{{"title":"#BROADCAST","origin":"{ME}","epoch":{START},"seq":{seq},"sig":"{sig}","messages":'
    link.sendall(f"{head}{body}}}\n".encode())


def show(bundle, line):
    origin, body = bundle["origin"], line.partition('"messages":')[2][:-1]
    digest = sha256(body.encode()).hexdigest()
    check(origin, bundle["sig"], "p2p bundle", NETWORK, origin, bundle["epoch"], bundle["seq"], digest)
    for group in bundle["messages"]:
        for value in group["values"]:
            print(f"{origin[:8]}: {json.dumps(value)}", flush=True)


host, _, port = sys.argv[1].rpartition(":")
text = sys.argv[2] if len(sys.argv) > 2 else "hello from a small peer"
link = socket.create_connection((host.strip("[]"), int(port)))
listener = socket.create_server((link.getsockname()[0], 0), family=link.family)
neighbour = None
try:
    for title, frame, line in frames(link, dialled=True):
        if title == "#HELLO":
            neighbour = frame["record"]
        elif title == "#PROOF":
            threading.Thread(target=listen, daemon=True).start()
            send(link, "#NODE_CONN_ADDR", urgent=True)
        elif title == "#NODE_CONN_ANSWER":
            send(link, "#DIGEST", of="streams", buckets={})
        elif title == "#POSITIONS":
            send(link, **frame)  # what the neighbour has is our baseline: we want what comes next
        elif title == "#BROADCAST":
            show(frame, line)
        elif title == "#BYE":
            sys.exit(f"{sys.argv[1]} ends the link: {frame['reason']}")
        empty = title == "#DIGEST" and frame["of"] == "streams" and not frame["buckets"]
        if empty or (title == "#POSITIONS" and not frame["more"]):  # level: from now on there are bundles
            send(link, "#JOINED_IN_NETWORK", record=record(START, "alive"))
            say(link, 1, text)
except KeyboardInterrupt:
    send(link, "!DISCONNECT", record=record(int(time.time() * 1000), "left"))
