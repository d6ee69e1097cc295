"""PeerService: runs a PeerCore on a reactor: stamps the time, performs the actions, keeps one timer."""

from __future__ import annotations

import errno
import os
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IListeningPort
from twisted.logger import Logger
from zope.interface import implementer

from twisted_p2p.accessfiles import AccessFiles
from twisted_p2p.core.access import Objection
from twisted_p2p.core.actions import (
    Actions,
    Banned,
    Changed,
    Dial,
    Finished,
    Hangup,
    Kind,
    Pause,
    Reason,
    Refused,
    Write,
)
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.core.wire import History
from twisted_p2p.errors import BadAddress, BadNetworkName, CannotListen, LogError, P2PError
from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
from twisted_p2p.interfaces import IMessageLog
from twisted_p2p.net.banlist import BanList
from twisted_p2p.net.dialer import Dialer
from twisted_p2p.net.link import LinkFactory, LinkProtocol
from twisted_p2p.net.refusals import RefusalLog
from twisted_p2p.net.stranger import StrangerLog
from twisted_p2p.net.tls import Credentials, TLSFactory
from twisted_p2p.shell import IPeerShell, SteadyClock, Told
from twisted_p2p.store.bans import BansFile
from twisted_p2p.store.datadir import DataDir

BACKLOG = 1024
"""Connections that the kernel keeps for us while we are busy; Twisted's own 50 is short for a genesis."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a closed connection may take to send what was written; then it is aborted."""
MEMORY_COUNT = 100_000
"""Bundles that are kept at most where they are kept in memory: each takes some hundred bytes more than on disk."""
RECOVER_FIRST, RECOVER_MAX = 1.0, 30.0
"""Seconds until a log that has failed is tried again: each time twice as long."""


@attrs.frozen(kw_only=True)
class Settings:
    """Where one peer listens, and in which network.

    Attributes:
        port: 0 for any free one.
        interface: the address to listen on.
        advertise: (host, port) under which others reach us; None: `interface`; a port of None: the real one.
        data_dir: where key, log and directory are kept; None: in memory.
        synchronous: whether a commit waits for the disk: "FULL", "NORMAL" or "OFF" (docs/durability.md).
        history: what to ask for of what was broadcast before we joined.
        plaintext: connections are not encrypted; all peers of a network must agree on that.
        network_key_file: the keys of the network, one a line; who has none of them is not admitted.
        allow_file, deny_file: peers and addresses that alone, or not, are admitted, one a line.
    Raises:
        BadNetworkName, BadAddress: with these nobody could join us.
    """

    port: int = 0
    interface: str = "127.0.0.1"
    advertise: tuple[str, int | None] | None = None
    network: str = "p2p"
    config: Config = LAN
    data_dir: str | os.PathLike[str] | None = None
    synchronous: str = attrs.field(default="NORMAL", validator=attrs.validators.in_(("OFF", "NORMAL", "FULL")))
    history: History | None = None
    plaintext: bool = False
    network_key_file: str | os.PathLike[str] | None = None
    allow_file: str | os.PathLike[str] | None = None
    deny_file: str | os.PathLike[str] | None = None

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch("[!-~]{1,64}", self.network):
            raise BadNetworkName()
        if self.interface in ("", "0.0.0.0", "::") and self.advertise is None:  # noqa: S104  # refused, not bound
            raise BadAddress(
                f"Nobody can dial {self.interface or 'an empty address'}: say with advertise where we are."
            )


def _advice(error: CannotListenError) -> str:
    """What to do about a port that can't be opened."""
    if error.socketError.errno == errno.EADDRINUSE:
        return "Choose another port, or stop the program that has it."
    if error.socketError.errno == errno.EACCES:
        return "Choose a port from 1024 on, or start with the right to open lower ones."
    return "Choose an interface that this machine has."


@implementer(IPeerShell)
class PeerService(MultiService):
    """The shell of one peer on real sockets.

    Args:
        reactor: for time and TCP; none is reached for globally.
    Raises:
        AccessError: it can't be read who may join.
        DataDirError: the data directory can't be used, or another process has it.
    """

    log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        super().__init__()
        self.clock, self.settings, self.config = reactor, settings, settings.config
        self._access_files = AccessFiles(settings.network_key_file, settings.allow_file, settings.deny_file)
        self._access = self._access_files.read(settings.network)
        self._data_dir = None if settings.data_dir is None else DataDir.open(settings.data_dir)
        self._verifier = Ed25519Verifier()
        self._signer = Ed25519Signer() if self._data_dir is None else self._data_dir.signer
        self.peer = self._signer.peer
        self.message_log = self._make_log()
        bans = None if self._data_dir is None else BansFile(DataDir.bans_in(self._data_dir.path))
        self._bans = BanList(bans, self.config.bans_max)
        self.core = self._make_core()
        self.failure: LogError | None = None
        """Why the log takes nothing. Until it does this peer stands still."""
        self._joins: dict[tuple[str, int], None] = {}
        self._genesis = False
        self._pause = RECOVER_FIRST
        self._works_since: float | None = 0.0
        """Since when the log works, if it does."""
        self._recovering: IDelayedCall | None = None
        self.sink: Callable[[Told], object] = lambda told: None
        self.address = (settings.interface, settings.port)
        self.port = settings.port
        self._credentials = None if settings.plaintext else Credentials(self._signer)
        self._factory = self._make_factory(None)
        self._dialer = self._make_dialer()
        self._listening: IListeningPort | None = None
        self._links: dict[int, LinkProtocol] = {}
        self._numbers = 0
        self._calls: deque[Callable[[float], Actions]] = deque()
        self._busy = False
        self._timer: IDelayedCall | None = None
        self._steady = SteadyClock()
        self._strangers = StrangerLog()
        self._refusals = RefusalLog()
        self._leaving: Deferred[None] | None = None
        self._closing = False

    # --- what an application does

    def start(self) -> None:
        """Listen, and be a network of one.

        Raises:
            CannotListen: the port is taken, or the interface is not ours.
            LogError: the log can't be opened.
            DataDirError: it can't be noted in the data directory who has it.
        """
        try:
            self._listen()
            if self._data_dir is not None:
                self._data_dir.say_pid()
            self._start_core()
        except P2PError:
            self._let_go()
            raise

    def _listen(self) -> None:
        port, interface = self.settings.port, self.settings.interface
        try:
            self._listening = self.clock.listenTCP(port, self._factory, backlog=BACKLOG, interface=interface)
        except CannotListenError as error:
            why = error.socketError.strerror or error.socketError
            raise CannotListen(f"Cannot listen on {interface} port {port}: {why}. {_advice(error)}") from error
        assert self._listening is not None
        self.port = self._listening.getHost().port  # type: ignore[union-attr]  # of listenTCP it is an IPv4Address or IPv6Address
        host, advertised = self.settings.advertise or (interface, None)
        self.address = (host, advertised or self.port)

    def _make_log(self) -> IMessageLog:
        config = self.config
        if self._data_dir is not None:
            return self._data_dir.log(config, self.settings.synchronous)
        return MemoryLog(attrs.evolve(config, retention_count=min(config.retention_count, MEMORY_COUNT)))

    def _make_core(self) -> PeerCore:
        return PeerCore(
            config=self.config,
            network=self.settings.network,
            signer=self._signer,
            verifier=self._verifier,
            log=self.message_log,
            # Nobody is to foresee nonces, nor whom we draw.
            rng=random.SystemRandom(),
            history=self.settings.history,
            access=self._access,
        )

    def _make_dialer(self) -> Dialer:
        return Dialer(self.clock, self._make_factory, self._dial_failed)

    def _make_factory(self, dial: int | None) -> Any:
        """For whoever connects to us, or for one dial of ours."""
        factory = LinkFactory(self, dial)
        if self._credentials is None:
            return factory
        return TLSFactory(self.clock, self._credentials, dial is not None, factory, self.stranger)

    def _start_core(self) -> None:
        """Go on where the log ends; raises LogError."""
        actions = self.core.start(self.address, self._now())
        self.message_log.commit()
        self._run(lambda now: actions)
        self._tell_bans()

    def join(self, addresses: Sequence[tuple[str, int]], genesis: bool = False) -> None:
        """Join through any of `addresses`, retrying until it works."""
        self._joins.update(dict.fromkeys(addresses))
        self._genesis |= genesis
        self._run(lambda now: self.core.join(addresses, now, genesis))

    def broadcast(self, encoded: Sequence[bytes]) -> None:
        """Broadcast encoded groups of messages, in this order.

        Raises:
            LogError: they are not in the log, nor sent to anybody.
        """
        self._run(lambda now: self.core.broadcast(list(encoded), now))
        if self.failure is not None:
            raise self.failure

    def reload(self) -> None:
        """Read again who may join, and who is banned, and end the links that are not admitted any more.

        Raises:
            AccessError, DataDirError: a file can't be read; all stays as it was.
        """
        access, bans = self._access_files.read(self.settings.network), self._bans.read()
        self._access = access
        self._bans.use(bans)
        self._run(lambda now: self.core.admit(access, now))
        self._tell_bans()

    def leave(self) -> Deferred[None]:
        """Leave gracefully and close everything, within the leave time-out and the close time-out."""
        if self._listening is None:
            return succeed(None)
        if self._leaving is None:
            self._leaving = Deferred()
            if self.failure is None:
                self._run(lambda now: self.core.leave(now))
            else:
                self._close()
        return self._leaving

    # --- running the core

    def _now(self) -> float:
        """The reactor's time, which is the wall clock's, but never earlier than before."""
        return self._steady.read(float(self.clock.seconds()))

    def _run(self, call: Callable[[float], Actions]) -> None:
        """Call into the core and perform what it asks for; what comes up meanwhile waits until that is done."""
        self._calls.append(call)
        if self._busy:
            return
        self._busy = True
        try:
            while self._calls:
                self._turn(self._calls.popleft())
        finally:
            self._busy = False
        self._set_timer()

    def _turn(self, call: Callable[[float], Actions]) -> None:
        """If what it says can't be kept, nothing else of the turn happens."""
        if self.failure is not None:
            return
        now = self._now()
        try:
            if self.core.is_forgotten(now) and not self._begin_anew():
                return
            actions = call(now)
            self.message_log.commit()
        except LogError as error:
            self._fail(error)
        else:
            self._perform(actions)

    def _perform(self, actions: Actions) -> None:
        for action in actions:
            if isinstance(action, Write):
                link = self._links.get(action.link)
                if link is not None:
                    action.lines.append(b"")
                    link.transport.write(b"\n".join(action.lines))
            elif isinstance(action, Dial):
                self._dialer.dial(action)
            elif isinstance(action, Hangup):
                self._hang_up(action)
            elif isinstance(action, Pause):
                link = self._links.get(action.link)
                if link is not None and not link.hung_up:
                    link.rest(action.seconds)
            elif isinstance(action, Banned):
                self._bans.add(action, self.core.conduct.banned, self._now())
            elif isinstance(action, Refused):
                self._refusals.refused(action, self._now())
            elif isinstance(action, Finished):
                self._close()
            else:
                self.sink(action)

    # --- when the log fails

    def _fail(self, error: LogError) -> None:
        """The core has said what the log has not kept: drop it, stand still, and begin anew once the log works."""
        self.failure = error
        self.message_log.rollback()
        self._drop_core(Reason.LOG_FAILED)
        if self._leaving is None:
            self._recover_later(error)
        else:
            self.log.critical("{error} This peer ends without having taken leave.", error=error)
            self._close()

    def _drop_core(self, reason: Reason) -> None:
        """Hang up everywhere, and forget what the core would do."""
        neighbours, links = [*self.core.overlay.active], [*self._links.values()]
        self._stop_running()
        self._links.clear()
        for link in links:
            link.transport.abortConnection()
        for peer in neighbours:
            self.sink(Changed(Kind.LINK_DOWN, peer, reason=reason.value))

    def _begin_anew(self) -> bool:
        """This process stood still for so long that others have forgotten it: a new core, unless we leave anyway."""
        self.log.info("This peer stood still for so long that the others have forgotten it: it joins anew.")
        self._drop_core(Reason.CLOSED)
        if self._leaving is not None:
            self._close()
            return False
        self._make_running()
        return True

    def _make_running(self) -> None:
        """Go on from the log, with a new core; raises LogError."""
        self._dialer = self._make_dialer()
        self.core = self._make_core()
        self._start_core()
        if self._joins or self._genesis:
            self.join([*self._joins], self._genesis)

    def _recover_later(self, error: LogError) -> None:
        now = float(self.clock.seconds())
        has_worked = self._works_since is not None and now - self._works_since > RECOVER_MAX
        self._pause, self._works_since = RECOVER_FIRST if has_worked else min(2 * self._pause, RECOVER_MAX), None
        self.log.critical("{error} This peer stands still, and tries again in {n:g} s.", error=error, n=self._pause)
        self._recovering = self.clock.callLater(self._pause, self._recover)

    def _recover(self) -> None:
        self._recovering = None
        self.failure = None
        try:
            self._make_running()
        except LogError as error:
            self._fail(error)
            return
        self.log.info("The log works again.")
        self._works_since = float(self.clock.seconds())

    def _set_timer(self) -> None:
        """Keep one delayed call, not later than the core's first deadline; an early one does no harm."""
        wake = None if self._closing or self.failure is not None else self.core.next_wake
        if wake is None:
            return
        delay = max(0.0, wake - self._steady.last)
        if self._timer is None:
            self._timer = self.clock.callLater(delay, self._wake)
        elif self._timer.getTime() > self.clock.seconds() + delay:
            self._timer.reset(delay)

    def _wake(self) -> None:
        self._timer = None
        self._run(lambda now: self.core.wake(now))

    # --- connections

    def may_connect(self, host: str) -> bool:
        """Whether somebody may connect from an address; if not, that costs us no more than to accept and close."""
        if self._access.may_meet("", host):
            return True
        why = self._access.listed_against("", host) or Objection.NOT_ALLOWED
        self._refusals.refused(Refused("", host, why), self._now())
        return False

    def link_made(self, link: LinkProtocol) -> None:
        """A connection is there."""
        if self._closing or self.failure is not None:
            link.transport.abortConnection()
            return
        self._numbers += 1
        link.number = self._numbers
        self._links[link.number] = link
        host = getattr(link.transport.getPeer(), "host", "")
        proves = self._credentials is not None
        self._run(lambda now: self.core.link_up(link.number, link.dial, now, host, proves))

    def link_secured(self, link: LinkProtocol, peer: str, binding: bytes) -> None:
        """The connection has proven whose key the other end holds; `binding` is what only this connection has."""
        self._run(lambda now: self.core.link_secured(link.number, peer, now, binding))

    def is_open(self, link: LinkProtocol) -> bool:
        """Whether the other end has introduced itself and proven its key."""
        known = self.core.links.by_id.get(link.number)
        return known is not None and known.is_open

    def lines_received(self, link: LinkProtocol, lines: list[bytes]) -> None:
        """Whole lines have arrived."""
        self._run(lambda now: self.core.lines_received(link.number, lines, now))

    def stranger(self, link: LinkProtocol, spoke: str) -> None:
        """Its first bytes are those of another protocol, and no frame can come of them."""
        if link.dial is None:
            client = link.transport.getPeer()
            self._strangers.met(client.host, client.port, spoke, self._now())
        self._run(lambda now: self.core.link_fault(link.number, Reason.BAD_FRAME, now))

    def line_too_long(self, link: LinkProtocol) -> None:
        """The other end does not keep to the protocol."""
        self._run(lambda now: self.core.link_fault(link.number, Reason.LINE_TOO_LONG, now))

    def congested(self, link: LinkProtocol) -> None:
        """Its buffer is full."""
        self._run(lambda now: self.core.congested(link.number, now))

    def drained(self, link: LinkProtocol) -> None:
        """Its buffer is empty."""
        self._run(lambda now: self.core.drained(link.number, now))

    def link_lost(self, link: LinkProtocol, is_no_tls: bool = False) -> None:
        """A connection is gone."""
        reason = Reason.NO_TLS if is_no_tls else Reason.CLOSED
        if link.aborting is not None:
            link.aborting.cancel()
        if self._links.pop(link.number, None) is not None and not self._closing:
            self._run(lambda now: self.core.link_down(link.number, reason, now))
        if self._closing and not self._links:
            self._closed()

    def _dial_failed(self, dial: int, reason: Reason) -> None:
        self._run(lambda now: self.core.dial_failed(dial, now, reason))

    def _hang_up(self, action: Hangup) -> None:
        link = self._links.get(action.link)
        if link is None or link.hung_up:
            return
        link.hung_up = True
        if action.abort:
            link.transport.abortConnection()
            return
        IConsumer(link.transport).unregisterProducer()
        link.transport.loseConnection()
        link.aborting = self.clock.callLater(CLOSE_TIMEOUT, self._abort, link)

    def _abort(self, link: LinkProtocol) -> None:
        link.aborting = None
        link.transport.abortConnection()

    # --- bans

    def bans(self) -> list[Banned]:
        """Who is not let in for a while, since it has broken the rules again and again."""
        return self._bans.standing(self._now())

    def lift(self, subject: str) -> bool:
        """End the ban of a peer or an address; whether there was one. Raises DataDirError."""
        is_lifted = self._bans.lift(subject)
        if is_lifted:
            self._tell_bans()
        return is_lifted

    def _tell_bans(self) -> None:
        # A turn that goes on may ban somebody yet.
        self._run(lambda now: self.core.set_bans(self._bans.times(), now))

    # --- the end

    def _close(self) -> None:
        """The core has left and hung up everywhere: stop listening and wait until the last words are out."""
        self._closing = True
        self._stop_running()
        if not self._links:
            self._closed()

    def _stop_running(self) -> None:
        self._dialer.stop()
        for call in (self._timer, self._recovering):
            if call is not None:
                call.cancel()
        self._timer = self._recovering = None

    def _closed(self) -> None:
        if self._listening is not None and self._leaving is not None:
            leaving = self._leaving
            maybeDeferred(self._let_go).addBoth(lambda result: leaving.callback(None))

    def _let_go(self) -> Deferred[None] | None:
        """Of the port, the log and the data directory."""
        self.message_log.close()
        if self._data_dir is not None:
            self._data_dir.close()
        port, self._listening = self._listening, None
        return None if port is None else port.stopListening()
