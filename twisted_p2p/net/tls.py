"""TLS on a connection: version 1.3 (RFC 8446), and a certificate at both ends that is made of the peer's own key.

There is no authority: a certificate says nothing but "whoever has made this connection holds this Ed25519 key", and the
key is the peer's id. So the handshake proves who is at the other end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_p2p.core.actions import Reason
from twisted_p2p.core.wire import Bye, encode
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.net.stranger import what_it_spoke

ALPN = b"p2p/1"
"""What we speak inside (RFC 7301)."""
EXPORTER = b"EXPORTER-p2p-admission"
"""The label of what proofs of the network's key are bound to (RFC 8446, section 7.5)."""
_CLIENT_HELLO = b"\x16"
_BEGIN, _END = datetime(2000, 1, 1), datetime(9999, 12, 31)  # it never expires: the key does not either


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Credentials:
    """What one peer shows at both ends of its connections."""

    def __init__(self, signer: Ed25519Signer) -> None:
        key = Ed25519PrivateKey.from_private_bytes(signer.seed)
        context = self._context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_options(SSL.OP_NO_TICKET)  # connections are few and long: nothing is gained by resuming one
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_privatekey(key)
        context.use_certificate(_certificate(key, signer.peer))
        # Any certificate is as good as its key, of which the handshake asks for a signature.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_alpn_protos([ALPN])
        context.set_alpn_select_callback(lambda _, offered: ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """For a dial."""
        return SSL.Connection(self._context, None)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """For whoever connects to us."""
        return SSL.Connection(self._context, None)


def _certificate(key: Ed25519PrivateKey, peer: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, peer)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return builder.serial_number(1).not_valid_before(_BEGIN).not_valid_after(_END).sign(key, None)


def proven_peer(transport: Any) -> str:
    """Whose key the other end of a connection holds, once the handshake is done; "" if it is none that we know."""
    if transport.negotiatedProtocol != ALPN:
        return ""
    certificate = transport.getPeerCertificate()
    key = None if certificate is None else certificate.to_cryptography().public_key()
    return key.public_bytes_raw().hex() if isinstance(key, Ed25519PublicKey) else ""


def binding(transport: Any) -> bytes:
    """32 bytes that only the two ends of this connection know, and that no other connection has."""
    return bytes(transport.getHandle().export_keying_material(EXPORTER, 32))


class WholeReads(Protocol):
    """A protocol that is handed each read as a whole, and not each record of TLS, of 16 KiB at most, that is in it."""

    _parts: list[bytes] | None = None
    """What has come of a read that goes on."""

    def begin_read(self) -> None:
        """What comes until `end_read` is of one read."""
        self._parts = []

    def end_read(self) -> None:
        """That was all of it."""
        parts, self._parts = self._parts, None
        if parts:
            self.readReceived(b"".join(parts))

    def dataReceived(self, data: bytes) -> None:
        """A read, or a part of one."""
        if self._parts is None:
            self.readReceived(data)
        else:
            self._parts.append(data)

    def readReceived(self, data: bytes) -> None:
        """A whole read has come."""
        raise NotImplementedError


class _Whole:
    """Says where a read begins and ends."""

    wrappedProtocol: Any

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come on the connection below."""
        inside = self.wrappedProtocol
        if isinstance(inside, WholeReads):
            inside.begin_read()
        super().dataReceived(data)  # type: ignore[misc]  # of the class that this one is mixed into
        if isinstance(inside, WholeReads):
            inside.end_read()


class _Freed:
    """A connection that has ended by an error is freed at once, with all that waited in it."""

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """Twisted keeps the failure in a frame that is in its own traceback: a cycle, which holds the connection."""
        super()._tlsShutdownFinished(reason)  # type: ignore[misc]  # of the class that this one is mixed into
        if reason is not None:
            reason.cleanFailure()


class _Dialler(_Whole, _Freed, BufferingTLSTransport):
    """One end of a connection that we have made."""


class _Listener(_Whole, _Freed, TLSMemoryBIOProtocol):
    """One end of a connection that somebody has made to us. Before any of TLS it looks whether that is what comes."""

    _has_begun = False

    @property
    def _factory(self) -> TLSFactory:
        assert isinstance(self.factory, TLSFactory)
        return self.factory

    def dataReceived(self, data: bytes) -> None:
        """The first bytes tell."""
        if not self._has_begun and data:
            self._has_begun = True
            assert self.transport is not None
            if not data.startswith(_CLIENT_HELLO):
                if data.startswith(b"{"):  # a peer without TLS is told why, in its own words
                    self.transport.write(encode(Bye(Reason.NO_TLS.value)) + b"\n")
                self._factory.on_stranger(self.wrappedProtocol, what_it_spoke(data) or "no TLS")
                self.transport.loseConnection()
                return
        super().dataReceived(data)


class TLSFactory(TLSMemoryBIOFactory):
    """Wraps a factory's protocols in TLS.

    Args:
        clock: for what is written in the same turn to travel together.
        on_stranger: called with a protocol whose other end speaks something else, and what that is.
    """

    noisy = False

    def __init__(
        self,
        clock: Any,
        credentials: Credentials,
        is_client: bool,
        wrapped: Factory,
        on_stranger: Callable[[Any, str], object],
    ) -> None:
        super().__init__(credentials, is_client, wrapped, clock)
        self.on_stranger = on_stranger
        self.protocol = _Dialler if is_client else _Listener

    def buildProtocol(  # type: ignore[override]  # as IFactory has it
        self, addr: IAddress | None
    ) -> TLSMemoryBIOProtocol | None:
        """A protocol for one new connection, if the factory inside makes one."""
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else self.protocol(self, wrapped)


def is_no_tls(reason: Failure) -> bool:
    """Whether a connection ended since the other end speaks no TLS, or none that we do."""
    return bool(reason.check(SSL.Error))
