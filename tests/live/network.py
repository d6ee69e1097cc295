"""A network of twistd peers on this machine, and what one asks of it; peers spoken by hand, and links that break."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.live.processes import HERE, TIMEOUT, Host, Peers, TwistdPeer, wait_until
from twisted_p2p.core import wire
from twisted_p2p.identity import Ed25519Signer

ACTIVE_MAX = 8
NETWORK = "p2p"

F = TypeVar("F")


class LiveNetwork:
    """Peers by name; `alive` are those that should know each other.

    The network has a name of its own. Peers go on dialling the ports of the dead, and these are soon those of another
    network, of other tests at the same time: with the same name the two would become one.
    """

    def __init__(self, folder: Path) -> None:
        self._peers = Peers(folder)
        self.name = f"test-{secrets.token_hex(4)}"
        self.started: list[TwistdPeer] = []
        self.alive: list[TwistdPeer] = []

    def start(self, *options: str, host: Host = HERE) -> TwistdPeer:
        """One more peer."""
        peer = self._peers.peer("--network", self.name, *options, host=host)
        self.started.append(peer)
        self.alive.append(peer)
        return peer

    def start_many(self, count: int, through: TwistdPeer) -> list[TwistdPeer]:
        """So many peers at once, which join through one."""
        return [self.start("--join", through.address) for _ in range(count)]

    def gone(self, peer: TwistdPeer) -> None:
        """This one is no longer to be known to the others."""
        self.alive.remove(peer)

    def kill(self, *peers: TwistdPeer) -> None:
        """kill -9, all at once as far as that goes."""
        for peer in peers:
            self.gone(peer)
        for peer in peers:
            peer.send_signal(signal.SIGKILL)

    def destroy(self) -> None:
        """End them all."""
        self._peers.destroy()

    # --- questions

    def directories_complete(self) -> bool:
        """Everybody knows exactly all the others."""
        ids = {peer.peer for peer in self.alive}
        return all(peer.directory() == ids - {peer.peer} for peer in self.alive)

    def views_good(self) -> bool:
        """Everybody has enough neighbours and not too many, neighbours have each other, and all are connected."""
        views = {peer.peer: peer.neighbours() for peer in self.alive}
        enough = min(3, len(views) - 1)
        return (
            all(
                enough <= len(view) <= ACTIVE_MAX and all(peer in views.get(other, ()) for other in view)
                for peer, view in views.items()
            )
            and reachable(views) == views.keys()
        )

    def wait_settled(self, timeout: float = 90.0) -> None:
        """Wait until both hold."""
        for peer in self.alive:
            peer.wait("ready", timeout=timeout)
        wait_until(self.directories_complete, "complete directories", timeout)
        wait_until(self.views_good, "symmetric views with degrees in bounds", timeout)

    def wait_everyone_saw(self, event: str, about: str, timeout: float = 60.0) -> None:
        """Wait until everybody has told of this event about a peer."""
        wait_until(lambda: all(peer.find(event, peer=about) for peer in self.alive), f"{event} everywhere", timeout)

    def talk(self, word: str, timeout: float = 90.0) -> None:
        """Everybody says one thing; wait until it is at all others."""
        texts = {peer.name: f"{word} from {peer.name}" for peer in self.alive}
        for peer in self.alive:
            peer.say(texts[peer.name])
        wait_until(lambda: self._all_heard(texts.values()), f"{word} of each at all others", timeout)
        for peer in self.alive:
            assert sorted(heard(peer, texts.values())) == sorted(set(texts.values()) - {texts[peer.name]})

    def _all_heard(self, texts: Iterable[str]) -> bool:
        wanted = set(texts)
        return all(len(set(heard(peer, wanted))) >= len(wanted) - 1 for peer in self.alive)


def heard(peer: TwistdPeer, texts: Iterable[str]) -> Sequence[str]:
    """Which of these a peer was told, as often as it was."""
    wanted = set(texts)
    return [each["message"] for each in peer.find("message") if each["message"] in wanted]


def reachable(views: Mapping[str, Iterable[str]]) -> set[str]:
    """Whom one can get to, from neighbour to neighbour, from the first."""
    queue = [*views][:1]
    seen = set(queue)
    while queue:
        for other in set(views.get(queue.pop(), ())) - seen:
            seen.add(other)
            queue.append(other)
    return seen


def certificate(signer: Ed25519Signer) -> bytes:
    """A certificate of this key, and the key, in PEM; made without the code under test."""
    key = Ed25519PrivateKey.from_private_bytes(signer.seed)
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2000, 1, 1)).not_valid_after(datetime(2100, 1, 1))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + builder.sign(key, None).public_bytes(Encoding.PEM)


def tls_context(signer: Ed25519Signer) -> ssl.SSLContext:
    """What a dialler with this key needs for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["p2p/1"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate(signer))
        file.flush()
        context.load_cert_chain(file.name)
    return context


class RawPeer:
    """A connection to a peer, spoken by hand, with a key of its own. While it waits for a frame it answers pings.

    Args:
        network: the name of the peer's network.
        is_plain: the peer speaks no TLS.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        network: str = NETWORK,
        is_plain: bool = True,
        signer: Ed25519Signer | None = None,
    ) -> None:
        self.signer = signer or Ed25519Signer()
        self.peer = self.signer.peer
        self.nonce = secrets.token_hex(16)
        self.network, self.is_plain = network, is_plain
        self.socket = socket.create_connection((host, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not is_plain:
            self.socket = tls_context(self.signer).wrap_socket(self.socket)
        self._lines = self.socket.makefile("rb")

    @property
    def name(self) -> str:
        """Its end of the connection, as logs write it."""
        host, port = self.socket.getsockname()[:2]
        return f"{host} port {port}"

    def send(self, *frames: wire.Frame) -> None:
        """Send frames."""
        self.socket.sendall(b"".join(wire.encode(frame) + b"\n" for frame in frames))

    def read(self) -> wire.Frame | None:
        """The next frame; None when the connection has ended."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        return wire.decode(line.rstrip(b"\n")) if line.endswith(b"\n") else None

    def wait(self, kind: type[F]) -> F:
        """The next frame of this kind; what comes before it is dropped."""
        while (frame := self.read()) is not None:
            if isinstance(frame, kind):
                return frame
            if isinstance(frame, wire.Ping):
                self.send(wire.Pong(frame.n))
        raise AssertionError(f"the connection ended before a {kind.__name__}")

    def wait_end(self) -> str:
        """Wait until the other end has closed. Returns the reason that it gave, "" without one."""
        reason = ""
        while (frame := self.read()) is not None:
            if isinstance(frame, wire.Bye):
                reason = frame.reason
        return reason

    def record(self) -> wire.Record:
        """What it says of itself; nobody listens there."""
        host, port = self.socket.getsockname()[:2]
        data = wire.record_bytes(self.network, self.peer, 1, "alive", host, port, "")
        return wire.Record(self.peer, 1, "alive", host, port, self.signer.sign(data))

    def say_hello(self, record: wire.Record | None = None) -> wire.Hello:
        """Introduce itself, by its own record or by another's. Returns the answer."""
        self.send(wire.Hello(wire.VERSION, self.network, record or self.record(), self.nonce))
        return self.wait(wire.Hello)

    def proof(self, hello: wire.Hello, claimed: str = "") -> wire.Proof:
        """The proof that answers a hello, signed with its own key whoever it claims to be."""
        claimed = claimed or self.peer
        data = wire.proof_bytes(self.network, claimed, hello.record.peer, hello.nonce, self.nonce)
        return wire.Proof(self.signer.sign(data))

    def shake_hands(self) -> None:
        """Open the link."""
        hello = self.say_hello()
        if self.is_plain:
            self.send(self.proof(hello))
            self.wait(wire.Proof)

    def become_neighbour(self) -> None:
        """Open the link, and be a neighbour on it."""
        self.shake_hands()
        self.send(wire.NodeConnAddr(urgent=True))
        assert self.wait(wire.NodeConnAnswer).accepted

    def go_live(self) -> None:
        """Be a neighbour to whom bundles are pushed, and from whom they are taken: at the other end's positions."""
        self.become_neighbour()
        self.send(wire.Digest("streams", {}))
        while (told := self.wait(wire.Positions)).more:
            self.send(told)
        self.send(told)

    def ping(self, n: int) -> float:
        """Seconds until a ping is answered."""
        start = time.monotonic()
        self.send(wire.Ping(n))
        assert self.wait(wire.Pong).n == n
        return time.monotonic() - start

    def close(self) -> None:
        """Close the connection without a word."""
        self._lines.close()
        self.socket.close()

    def reset(self) -> None:
        """End the connection by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Proxy:
    """Passes connections on to a port. While it is frozen nothing gets through either way, and no end is told.

    Args:
        target: the port.
        rate: bytes a second, each way of each connection; 0: as many as come.
    """

    def __init__(self, target: int, rate: float = 0.0) -> None:
        self._rate = rate
        self.target = target
        """Its port; 0: nobody is there yet."""
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.accepted: list[float] = []
        """When each connection came, on the monotonic clock."""
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Pass nothing on any more."""
        self._open.clear()

    def thaw(self) -> None:
        """What has waited gets through, and what comes."""
        self._open.set()

    def close(self) -> None:
        """End it, and all its connections."""
        self._open.set()
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                self.accepted.append(time.monotonic())
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), TIMEOUT)
                except ConnectionRefusedError:
                    near.close()
                    continue
                self._sockets += (near, far)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=[source, target], daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                if self._rate:
                    time.sleep(len(data) / self._rate)
                target.sendall(data)
        self._open.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Listener:
    """Listens at a port in place of a peer, says nothing, and keeps what comes on each connection."""

    def __init__(self, port: int) -> None:
        self.received: list[bytearray] = []
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._read, args=[self._server.accept()[0]], daemon=True).start()

    def _read(self, client: socket.socket) -> None:
        received = bytearray()
        self.received.append(received)
        with contextlib.suppress(OSError), client:
            while data := client.recv(65536):
                received += data
