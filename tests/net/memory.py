"""PeerServices on a reactor in memory: TCP without sockets, and time that the test moves."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from twisted_p2p.core.config import LAN, Config
from twisted_p2p.net.service import PeerService, Settings
from twisted_p2p.shell import Told

BEGINNING = 1_600_000_000.0


class Transport(StringTransport):
    """A connection in memory that takes TCP's options."""

    def __init__(self, *addresses: IAddress) -> None:
        super().__init__(*addresses)
        self.options: dict[str, bool] = {}

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Keep the option."""
        self.options["no delay"] = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Keep the option."""
        self.options["keep alive"] = enabled

    def take(self) -> bytes:
        """What was written since this was last called."""
        written = self.value()
        self.clear()
        return bytes(written)


class Wire:
    """One connection: two protocols with their transports. Nothing moves but by `pump`."""

    def __init__(self, client: Any, server: Any) -> None:
        self.protocols = [client, server]
        self.transports = [Transport(), Transport()]
        self.lost = [False, False]
        self.cut = False
        """Nothing gets through any more, and no end is told."""
        for protocol, transport in zip(self.protocols, self.transports, strict=True):
            protocol.makeConnection(transport)

    def pump(self) -> bool:
        """Carry what was written, and closes, to the other end; whether anything moved."""
        moved = False
        for way in (0, 1):
            written = self.transports[way].take()
            if written and not self.cut and not self.lost[1 - way]:
                moved = True
                self.protocols[1 - way].dataReceived(written)
        for way in (0, 1):
            transport = self.transports[way]
            ends = transport.disconnected or (transport.disconnecting and not transport.value() and not self.cut)
            if ends and not self.lost[way]:
                moved = True
                self._lose(way)
                if not self.cut:
                    self._lose(1 - way)
        return moved

    def _lose(self, way: int) -> None:
        if not self.lost[way]:
            self.lost[way] = True
            self.protocols[way].connectionLost(Failure(ConnectionDone()))


class Net:
    """A reactor in memory, and the PeerServices on it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.rightNow = BEGINNING
        self.wires: list[Wire] = []
        self.told: dict[PeerService, list[Told]] = {}

    def service(self, port: int = 5050, config: Config = LAN, plaintext: bool = True, **settings: Any) -> PeerService:
        """A service that is not started yet; what its application is told is kept."""
        options = Settings(port=port, config=config, plaintext=plaintext, **settings)
        service = PeerService(self.reactor, options)
        self.told[service] = []
        service.sink = self.told[service].append
        return service

    def connect(self) -> None:
        """Let every dial come about, or fail where nobody listens."""
        clients, self.reactor.tcpClients[:] = self.reactor.tcpClients[:], []
        servers = {port: factory for port, factory, _, _ in self.reactor.tcpServers}
        for _, port, factory, _, _ in clients:
            if port in servers:
                self.wires.append(Wire(factory.buildProtocol(None), servers[port].buildProtocol(None)))
            else:
                factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and all dials and bytes get through."""
        end = self.reactor.seconds() + seconds
        while True:
            self.settle()
            calls = [call.getTime() for call in self.reactor.getDelayedCalls()]
            if not calls or min(calls) > end:
                break
            self.reactor.advance(max(0.0, min(calls) - self.reactor.seconds()))
        self.reactor.advance(max(0.0, end - self.reactor.seconds()))

    def settle(self) -> None:
        """Let all dials and bytes get through, and no time pass."""
        moved = True
        while moved or self.reactor.tcpClients:
            self.connect()
            moved = False
            for wire in list(self.wires):
                moved |= wire.pump()
