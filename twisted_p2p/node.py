"""Node: this process's peer, as an application holds it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_p2p.core.actions import Banned, Changed, Deliver, Fork, Gap, Kind
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.wire import History
from twisted_p2p.errors import LogError, NotRunning
from twisted_p2p.messages import Encoder, Message, Prepared, decode
from twisted_p2p.net.directory import Entry, PeerDirectory
from twisted_p2p.net.service import PeerService, Settings
from twisted_p2p.reader import Bell, MessageReader
from twisted_p2p.shell import IPeerShell, Told

WINDOW = 64
"""Own bundles that may wait for the fastest neighbour before `broadcast` lets its caller wait, too: about 2 MiB."""
TURN = 262_144
"""Bytes of messages that are published in one turn of the event loop."""
PAUSE = 0.002
"""Seconds until it is tried again when the window is full."""


@attrs.define(eq=False)
class _Batch:
    """Messages that wait to be published, and who waits for that."""

    messages: list[Prepared]
    accepted: Deferred[None]


class Node(Service):
    """A peer of the network.

    Callbacks are called one at a time, in the reactor's thread, in each origin's order. One that raises is logged and
    stops nothing.

    Args:
        reactor: the reactor to run on.
        port: to listen on; 0 for any free one.
        interface: the address to listen on.
        advertise: (host, port) under which others reach us, where that is not `interface`; the port may be None.
        genesis: the network may begin with us.
        join: addresses of genesis peers. Without any, and no genesis, we stay alone until `join_network`.
        network: its name; peers of other networks are refused.
        config: a profile of settings.
        data_dir: the folder in which it keeps its key, its log and whom it knows, and from which it goes on after a
            restart; without one it is a new peer each time, and its log is in memory.
        synchronous: "FULL": every commit waits for the disk, and nothing is lost by a power failure; "NORMAL": the
            newest of what came may be, but nothing by a crash of the process; "OFF": a power failure may damage it.
        history: how much of what was broadcast before its join it is to get, marked `replayed`.
        plaintext: connections are not encrypted, as they are else, by TLS 1.3: whoever is on the way reads all. All
            peers of a network must agree on it.
        network_key_file: a file with the network's key, or several of them, one a line, the first of which we prove
            with: only who has one of them is admitted. Only its owner may be able to read it.
        allow_file, deny_file: files with a peer's id, an IP address or a range of them (192.0.2.0/24) a line. With the
            first only those in it are admitted; those in the second never are.
        shell: what runs the protocol: sockets, unless a test has it otherwise (`twisted_p2p.testing`).
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        port: int = 0,
        interface: str = "127.0.0.1",
        advertise: tuple[str, int | None] | None = None,
        genesis: bool = False,
        join: Sequence[tuple[str, int]] = (),
        network: str = "p2p",
        config: Config = LAN,
        data_dir: str | os.PathLike[str] | None = None,
        synchronous: str = "NORMAL",
        history: History | None = None,
        plaintext: bool = False,
        network_key_file: str | os.PathLike[str] | None = None,
        allow_file: str | os.PathLike[str] | None = None,
        deny_file: str | os.PathLike[str] | None = None,
        shell: Callable[[Any, Settings], IPeerShell] = PeerService,
    ) -> None:
        settings = Settings(
            port=port,
            interface=interface,
            advertise=advertise,
            network=network,
            config=config,
            data_dir=data_dir,
            synchronous=synchronous,
            history=history,
            plaintext=plaintext,
            network_key_file=network_key_file,
            allow_file=allow_file,
            deny_file=deny_file,
        )
        self.shell = running = shell(reactor, settings)
        self.genesis = genesis
        self.peer: str = running.peer
        self.directory = PeerDirectory()
        self._addresses = [*join]
        self._clock = running.clock
        self._sample = bool(config.max_known)
        self._encoder = Encoder(running.core.config.message_max, running.core.config.bundle_bytes)
        self._outbox: deque[_Batch] = deque()
        self._flushing: Any = None
        self._listening = self._joined = self._stopping = False
        self._when_listening: list[Deferred[None]] = []
        self._when_ready: list[Deferred[None]] = []
        self._on_messages: list[Callable[[list[Message]], object]] = []
        self._on_gap: list[Callable[[Gap], object]] = []
        self._on_fork: list[Callable[[Fork], object]] = []
        self._bell = Bell(running)
        running.sink = self._told
        self.directory.subscribe(self._changed)

    # --- life

    def privilegedStartService(self) -> None:
        """Listen.

        Raises:
            CannotListen: the port is taken, or the interface is not ours.
            LogError: the log can't be opened.
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Listen, unless that was done before, and begin to join."""
        self._listen()
        super().startService()
        self.directory.startService()
        if self.genesis or self._addresses:
            self.shell.join(self._addresses, genesis=self.genesis)

    def _listen(self) -> None:
        if not self._listening:
            self.shell.start()
            self._listening = True
            self.directory.set_own(self.peer, self.address)
            self._bell.open()
            _fire(self._when_listening)

    def stopService(self) -> Deferred[None]:
        """Send what was broadcast, leave, and close everything; takes a few seconds at most."""
        super().stopService()
        self._publish_all()
        self._stopping = True
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        left = self.shell.leave()
        self.directory.stopService()
        return left.addBoth(self._left)

    def _left(self, result: None) -> None:
        self._bell.end()
        return result

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) under which others reach us; the port is the real one once we listen."""
        address: tuple[str, int] = self.shell.address
        return address

    @property
    def port(self) -> int:
        """The port that we listen on, once we do."""
        port: int = self.shell.port
        return port

    def when_listening(self) -> Deferred[None]:
        """Fires once the port is open."""
        return _when(self._listening, self._when_listening)

    def when_ready(self) -> Deferred[None]:
        """Fires once we are in a network and have its directory; for a genesis, once it listens."""
        return _when(self._joined, self._when_ready)

    def join_network(self, host: str = "127.0.0.1", port: int = 5050) -> Deferred[None]:
        """Join the network of whoever listens there; tries again until it works.

        Raises:
            NotRunning: the node was not started.
        """
        self._check_running()
        self._joined = False
        self._addresses.append((host, port))
        self.shell.join(self._addresses)
        return self.when_ready()

    def reload(self) -> None:
        """Read the network key file, the allow and the deny file, and the bans again. Whom they leave out is cut off.

        Raises:
            AccessError, DataDirError: one of them can't be read; all stays as it was.
            NotRunning: the node was not started, or has been stopped.
        """
        self._check_running()
        self.shell.reload()

    # --- what there is

    @property
    def knows_all(self) -> bool:
        """Whether `nodes_in_network` has everybody, and not only a sample of them (the setting `max_known`)."""
        return not self._sample

    @property
    def nodes_in_network(self) -> list[Entry]:
        """Every peer of the network, ourselves included: [{"ip_addr", "port", "peer"}, ...].

        Unless we know all, it is a sample of so many others, which changes all the time.
        """
        return self.directory.nodes()

    @property
    def connections(self) -> list[Entry]:
        """Our neighbours, in the same shape."""
        return self.directory.neighbours()

    @property
    def bans(self) -> list[Banned]:
        """Who is not let in for a while, since it has broken the rules again and again: peers and IP addresses."""
        bans: list[Banned] = self.shell.bans()
        return bans

    def lift(self, subject: str) -> bool:
        """End the ban of a peer or an address; whether there was one.

        Raises:
            DataDirError: the file of bans can't be written.
        """
        return bool(self.shell.lift(subject))

    # --- broadcasting

    def broadcast(self, value: Any) -> Deferred[str]:
        """Broadcast any JSON value to every peer.

        Returns:
            A Deferred of the message's id. It fires when the message is on its way, which is late where the network
            can't take more: wait for it, and you never fill your memory.
        Raises:
            NotRunning
            LogError: by the Deferred; the message is not in the log, and was sent to nobody.
        """
        prepared = self.prepare(value)
        return self.broadcast_prepared([prepared]).addCallback(lambda _: prepared.id)

    def broadcast_all(self, values: Sequence[Any]) -> Deferred[list[str]]:
        """Broadcast several values, in this order; one Deferred for all their ids. All or none are sent."""
        now = self._now()
        prepared = [self._encoder.prepare(value, now) for value in values]
        return self.broadcast_prepared(prepared).addCallback(lambda _: [message.id for message in prepared])

    def prepare(self, value: Any) -> Prepared:
        """Make a value a message. May be called in any thread.

        Raises:
            MessageTooBig, NotJSON
        """
        return self._encoder.prepare(value, self._now())

    def _now(self) -> float:
        # In milliseconds: what is broadcast in one of them travels as one group.
        now: float = self._clock.seconds()
        return round(now, 3)

    def broadcast_prepared(self, messages: Sequence[Prepared]) -> Deferred[None]:
        """Broadcast what `prepare` made, in this order; fires once it is accepted.

        Raises:
            NotRunning: the node was not started, or has been stopped.
        """
        self._check_running()
        batch = _Batch([*messages], Deferred())
        self._outbox.append(batch)
        self._flush_in(0)
        return batch.accepted

    def _check_running(self) -> None:
        if not self._listening or self._stopping:
            raise NotRunning()

    def _flush_in(self, delay: float) -> None:
        if self._flushing is None:
            self._flushing = self._clock.callLater(delay, self._flush)

    def _flush(self) -> None:
        """End of a turn: publish what it broadcast, as far as the network takes it."""
        self._flushing = None
        ready: list[_Batch] = []
        size = 0
        crowded = self.shell.core.unsent() > WINDOW
        while self._outbox and size < TURN and not crowded:
            batch = self._outbox.popleft()
            size += sum(message.size for message in batch.messages)
            ready.append(batch)
        self._publish(ready)
        if self._outbox:
            self._flush_in(PAUSE if crowded else 0)

    def _publish_all(self) -> None:
        ready = list(self._outbox)
        self._outbox.clear()
        self._publish(ready)

    def _publish(self, batches: list[_Batch]) -> None:
        result: Failure | None = None
        if batches:
            try:
                self.shell.broadcast(self._encoder.groups(message for batch in batches for message in batch.messages))
            except LogError:
                result = Failure()
            self._bell.ring()
        for batch in batches:
            batch.accepted.callback(result)

    # --- listening

    def messages(self, after: int | None = None, own: bool = False) -> MessageReader:
        """Read the log from a cursor on, and go on as messages arrive.

        An application that stores the cursor of each message together with what the message has changed goes on
        behind it after a crash, and acts on each one exactly once. For that the log must be durable, too.

        Args:
            after: the cursor of the last message or gap that you are done with; 0: from the oldest that is held;
                None: from now on, or from the start of the node.
            own: with our own broadcasts.
        Raises:
            ValueError: no cursor is negative.
        """
        if after is not None and after < 0:
            raise ValueError(f"{after} is no cursor: none is negative.")
        return MessageReader(self._bell, self.peer, after, own)

    def on_message(self, callback: Callable[[Message], object]) -> None:
        """Call `callback` with every message that another peer broadcasts."""

        def each(messages: list[Message]) -> None:
            for message in messages:
                self._call(callback, message)

        self._on_messages.append(each)

    def on_messages(self, callback: Callable[[list[Message]], object]) -> None:
        """Call `callback` with lists of messages, as they arrive together; cheaper where there are many."""
        self._on_messages.append(callback)

    def on_change(self, callback: Callable[[Changed], object]) -> None:
        """Call `callback` when a peer joins, leaves or fails, a neighbour comes or goes, and when we have joined."""
        self.directory.subscribe(callback)

    def on_gap(self, callback: Callable[[Gap], object]) -> None:
        """Call `callback` when bundles can no longer be had from anybody."""
        self._on_gap.append(callback)

    def on_fork(self, callback: Callable[[Fork], object]) -> None:
        """Call `callback` when a peer has signed two bundles of one number; once for each stream, and it is logged.

        Two processes have its key, or it lies. Each peer keeps the bundle that came first, so others may have been
        handed another one. A data directory that was copied, and is used twice, makes forks.
        """
        self._on_fork.append(callback)

    def _told(self, told: Told) -> None:
        if isinstance(told, Deliver):
            if self._on_messages:
                messages = [message for bundle in told.bundles for message in decode(bundle)]
                for callback in self._on_messages:
                    self._call(callback, messages)
        elif isinstance(told, Changed):
            self.directory.update(told)
        elif isinstance(told, Gap):
            for on_gap in self._on_gap:
                self._call(on_gap, told)
        else:
            self._forked(told)
        self._bell.ring()

    def _forked(self, fork: Fork) -> None:
        if fork.origin == self.peer:
            self.log.warn(
                "Another process has the key of this peer, or its log is an older copy. It goes on in a stream of its "
                "own. Run each data directory, and each copy of it, in one process only."
            )
        else:
            self.log.warn(
                "{peer} has broadcast two different bundles with the number {seq} in its stream {epoch}: two processes "
                "have its key. The first that came is kept.",
                peer=fork.origin,
                seq=fork.seq,
                epoch=fork.epoch,
            )
        for on_fork in self._on_fork:
            self._call(on_fork, fork)

    def _changed(self, changed: Changed) -> None:
        if changed.kind is Kind.READY:
            self._joined = True
            _fire(self._when_ready)

    def _call(self, callback: Callable[[Any], object], argument: Any) -> None:
        try:
            callback(argument)
        except Exception:  # noqa: BLE001  # an application's callback may raise anything, and stops nothing
            self.log.failure("A callback of the application failed")


def _when(done: bool, waiting: list[Deferred[None]]) -> Deferred[None]:
    waiter: Deferred[None] = Deferred(lambda cancelled: waiting.remove(cancelled))
    if done:
        waiter.callback(None)
    else:
        waiting.append(waiter)
    return waiter


def _fire(waiting: list[Deferred[None]]) -> None:
    ready, waiting[:] = waiting[:], []
    for waiter in ready:
        waiter.callback(None)
