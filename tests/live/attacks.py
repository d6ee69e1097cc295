"""What a stranger, or a hostile member, may do to a peer's processor and memory."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hashlib
import json
import socket
import ssl
import struct
import tempfile
import time

from tests.live.network import certificate, tls_context
from tests.live.siege import Attacker, drain
from twisted_p2p import LAN
from twisted_p2p.core import wire
from twisted_p2p.core.wire import Position
from twisted_p2p.identity import Ed25519Signer

EPOCH = 1_600_000_000_000
LINES = 50
"""Connections with a line that does not end, in a round."""


def invented(count: int, salt: int) -> list[Position]:
    """Streams of origins that nobody has ever heard of, each one bundle ahead."""
    return [(hashlib.sha256(b"%d %d" % (salt, n)).hexdigest(), 1, 2) for n in range(count)]


def bundle(attacker: Attacker, signer: Ed25519Signer, seq: int, body: bytes) -> bytes:
    """The line of a bundle that is signed as it should be, whatever it holds."""
    sig = signer.sign(wire.bundle_bytes(attacker.network, signer.peer, EPOCH, seq, body))
    return wire.bundle_line(signer.peer, EPOCH, seq, sig, body)


def body(text: str) -> bytes:
    """The messages of a bundle: one, with this text."""
    group = {"id": "0" * 64, "time": time.time(), "values": [text]}
    return json.dumps([group], separators=(",", ":")).encode()


# --- floods by a member


def pings(attacker: Attacker) -> None:
    """Questions that are answered each."""
    attacker.flood(attacker.member(), [wire.encode(wire.Ping(n)) for n in range(20_000 * attacker.size)])


def unknown(attacker: Attacker) -> None:
    """Frames that are ignored."""
    attacker.flood(attacker.member(), [b'{"title":"#NOTHING"}'] * 20_000 * attacker.size)


def asks(attacker: Attacker) -> None:
    """A short question with a long answer."""
    attacker.flood(attacker.member(), [wire.encode(wire.AskNodesToConnect())] * 5_000 * attacker.size)


def grafts(attacker: Attacker) -> None:
    """Asking for 4,000 streams at a time, none of which is there."""
    asked = [wire.encode(wire.Graft(invented(4_000, n), n + 1)) for n in range(5)]
    attacker.flood(attacker.member(), asked * attacker.size)


def frontiers(attacker: Attacker) -> None:
    """Promises of bundles that are never sent, one in a frame."""
    told = [wire.encode(wire.Frontier([position])) for position in invented(5_000 * attacker.size, 0)]
    attacker.flood(attacker.member(), told)


def copies(attacker: Attacker) -> None:
    """A bundle that is known, over and over."""
    raw = attacker.member()
    line = bundle(attacker, raw.signer, 1, body("again"))
    attacker.flood(raw, [line] * 10_000 * attacker.size)


def origins(attacker: Attacker) -> None:
    """Bundles by ever more invented origins."""
    lines = [bundle(attacker, Ed25519Signer(), 1, body("one of many")) for _ in range(500 * attacker.size)]
    attacker.flood(attacker.member(), lines)


def tiny(attacker: Attacker) -> None:
    """As many bundles as can be."""
    raw = attacker.member()
    attacker.flood(raw, [bundle(attacker, raw.signer, seq, body("")) for seq in range(1, 1_000 * attacker.size + 1)])


def huge(attacker: Attacker) -> None:
    """Messages as large as can be."""
    raw = attacker.member()
    text = "x" * (LAN.message_max - len(body("")))
    attacker.flood(raw, [bundle(attacker, raw.signer, seq, body(text)) for seq in range(1, 5 * attacker.size + 1)])


def forged(attacker: Attacker) -> None:
    """Bundles with a signature that is not their origin's, each on a link of its own."""
    for _ in range(50 * attacker.size):
        raw = attacker.member()
        attacker.flood(raw, [bundle(attacker, raw.signer, 1, body("true")).replace(b"true", b"forged")])
        attacker.close()


# --- memory bombs


DEEP = 10_000
BOMBS = {
    "10,000 lists in one another": b"[" * DEEP + b"]" * DEEP,
    "10,000 objects in one another": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "half a million lists in one another": b"[" * 500_000 + b"]" * 500_000,
    "a number of 400 digits": b"1" + b"0" * 400,
    "a number of a million digits": b"9" * 1_000_000,
    "a number with a huge exponent": b"1e999999999",
    "a string of 1 MB": b'"%b"' % (b"x" * 1_000_000),
    "invalid UTF-8": b'"\xff\xfe\xc0\x80"',
    "half a surrogate": b'"\\ud800"',
    "a name a hundred thousand times": b"{%b}" % b",".join([b'"a":1'] * 100_000),
    "a hundred thousand empty lists": b"[%b]" % b",".join([b"[]"] * 100_000),
    "half a million messages, one of which can't be read": b"1e400,%b" % b",".join([b"1"] * 500_000),
    "a hundred thousand empty objects": b"[%b]" % b",".join([b"{}"] * 100_000),
}


def bomb_lines(attacker: Attacker, signer: Ed25519Signer) -> list[bytes]:
    """Each bomb as a field of a frame, as one that is ignored, in an unknown frame, and in signed bundles."""
    lines, seq = [], 0
    for bomb in BOMBS.values():
        message = b'[{"id":"%b","time":1,"values":[%b]}]' % (b"0" * 64, bomb)
        named = b'[{"id":%b,"time":1,"values":[1]}]' % bomb
        lines += [
            b'{"title":"#PING","n":%b}' % bomb,
            b'{"title":"#PING","n":1,"more":%b}' % bomb,
            b'{"title":"#NOTHING","n":%b}' % bomb,
            b'{"title":%b}' % bomb,
            bomb,
        ]
        for messages in (message, named, bomb):
            seq += 1
            lines.append(bundle(attacker, signer, seq, messages))
    return lines


def bombs(attacker: Attacker) -> None:
    """What is small on the wire, and might be large or slow in memory."""
    signer = Ed25519Signer()
    for line in bomb_lines(attacker, signer):
        attacker.flood(attacker.member(), [line])
        attacker.close()


def urgent(attacker: Attacker) -> None:
    """Ever more members who say that they have no neighbour, so that others give way."""
    for _ in range(20 * attacker.size):
        attacker.member()
        attacker.units += 1
    time.sleep(1)


def soup(attacker: Attacker) -> None:
    """Lines of 1 MB that are ignored, of as many values as fit."""
    line = b'{"title":"#NOTHING","n":[%b]}' % b",".join([b"{}"] * 340_000)
    attacker.flood(attacker.member(), [line] * 3 * attacker.size)


# --- readers that do not read


def takes_nothing(attacker: Attacker) -> None:
    """A member that asks for much and reads none of it, until it is hung up on."""
    raw = attacker.member()
    asked = wire.encode(wire.AskNodesToConnect()) + b"\n"
    while not attacker.is_late and attacker.pour(raw, asked * 2_000, reads=False):
        attacker.units += 2_000


def push(attacker: Attacker) -> None:
    """Have 5 MB broadcast through the victim, by another member."""
    other = attacker.member()
    text = "x" * (LAN.message_max - len(body("")))
    attacker.flood(other, [bundle(attacker, other.signer, seq, body(text)) for seq in range(1, 20 * attacker.size + 1)])


def takes_no_bundles(attacker: Attacker) -> None:
    """A member that reads nothing of all that is pushed to it."""
    attacker.member()
    push(attacker)


def takes_a_byte(attacker: Attacker) -> None:
    """A member that reads a byte a second of what is pushed to it, and talks, until it is hung up on."""
    raw = attacker.member()
    push(attacker)
    with contextlib.suppress(OSError):
        while not attacker.is_late:
            raw.socket.recv(1)
            attacker.units += 1
            time.sleep(1)
            raw.socket.sendall(b"\n")


# --- lines that do not end


def strangers_lines(attacker: Attacker) -> None:
    """Strangers who send a line almost as long as a line may be, without its end, before they introduce themselves."""
    for _ in range(LINES * attacker.size):
        raw = attacker.connect(is_new=False)
        if attacker.pour(raw, b"x" * (LAN.line_max - 1)):
            attacker.wait_end(raw)
        attacker.units += 1


def members_lines(attacker: Attacker) -> None:
    """The same by those who have introduced themselves."""
    for _ in range(LINES):
        raw = attacker.connect()
        raw.shake_hands()
        attacker.pour(raw, b"x" * (LAN.line_max - 1))
        attacker.units += 1
    time.sleep(0.5)


def drops(attacker: Attacker) -> None:
    """A hundred who have introduced themselves send a line a byte at a time, and never end it."""
    raws = []
    for _ in range(100):
        raws.append(attacker.connect(is_new=False))
        raws[-1].shake_hands()
    for _ in range(20 * attacker.size):
        for raw in raws:
            with contextlib.suppress(OSError):
                raw.socket.sendall(b"x")
                attacker.units += 1
                attacker.sent += 1
        time.sleep(0.02)


def bytes_alone(attacker: Attacker) -> None:
    """A line in writes of a byte: encrypted each is a record of its own."""
    raw = attacker.member()
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    with contextlib.suppress(OSError):
        for n in range(50_000 * attacker.size):
            raw.socket.send(b"x")
            attacker.units += 1
            attacker.sent += 1
            if n % 1000 == 0:
                drain(raw)
                if attacker.is_late:
                    break
        raw.socket.sendall(b"\n")


# --- connections


def connects(attacker: Attacker) -> None:
    """Connections that are closed at once, every other one by a reset."""
    for n in range(500 * attacker.size):
        client = socket.create_connection(("127.0.0.1", attacker.port), 30)
        if n % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        attacker.units += 1


def handshakes(attacker: Attacker) -> None:
    """Handshakes of TLS, after each of which the connection is closed."""
    context = tls_context(Ed25519Signer())
    for n in range(200 * attacker.size):
        with contextlib.suppress(OSError):
            plain = socket.create_connection(("127.0.0.1", attacker.port), 30)
            client = context.wrap_socket(plain)
            if n % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        attacker.units += 1


def client_hello() -> bytes:
    """The first flight of a dialler that then says nothing more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls_context(Ed25519Signer()).wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def half_open(attacker: Attacker) -> None:
    """500 who begin a handshake and do not go on: in the middle of TLS, or before they introduce themselves."""
    hello, context, clients = client_hello(), tls_context(Ed25519Signer()), []
    for n in range(500):
        client = socket.create_connection(("127.0.0.1", attacker.port), 30)
        if attacker.is_plain:
            client.sendall(b'{"title":"#HELLO",')
        elif n % 5:
            client.sendall(hello)
        else:
            client = context.wrap_socket(client)
            client.sendall(b'{"title":"#HELLO",')
        attacker.units += 1
        attacker.sent += len(hello)
        clients.append(client)
    for client in clients:
        with contextlib.suppress(OSError):
            while client.recv(65_536):
                pass
        client.close()
        attacker.hung_up += 1


def key_updates(attacker: Attacker) -> None:
    """Requests for new keys of TLS (RFC 8446, 4.6.3), each of which asks for one in return; no line ever comes."""
    name = ctypes.util.find_library("ssl")
    assert name is not None
    library = ctypes.CDLL(name)
    for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, function).restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.SSL_CTX_new(ctypes.c_void_p(library.TLS_client_method())))
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate(Ed25519Signer()))
        file.flush()
        path, pem = file.name.encode(), 1
        assert library.SSL_CTX_use_certificate_file(context, path, pem) == 1
        assert library.SSL_CTX_use_PrivateKey_file(context, path, pem) == 1
    assert library.SSL_CTX_set_alpn_protos(context, b"\x05p2p/1", 6) == 0
    connection = ctypes.c_void_p(library.SSL_new(context))
    plain = socket.create_connection(("127.0.0.1", attacker.port), 30)
    plain.setblocking(True)
    assert library.SSL_set_fd(connection, plain.fileno()) == 1
    assert library.SSL_connect(connection) == 1
    for _ in range(20_000 * attacker.size):
        if attacker.is_late or library.SSL_key_update(connection, 1) != 1 or library.SSL_do_handshake(connection) != 1:
            attacker.hung_up += 1
            break
        attacker.units += 1
        attacker.sent += 27
    plain.settimeout(60)
    with contextlib.suppress(ConnectionError):
        with contextlib.suppress(OSError):  # it was hung up on, since it has not introduced itself
            plain.shutdown(socket.SHUT_WR)
        while plain.recv(65_536):
            pass
    plain.close()
    library.SSL_free(connection)
    library.SSL_CTX_free(context)
