"""The network for a plain program: calls that wait, and callbacks on a thread of their own."""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet import defer
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_p2p.backlog import Backlog
from twisted_p2p.console import address_text, why_not_joined
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind, Reason
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.wire import History
from twisted_p2p.errors import BadAddress, JoinError, LogError, NotRunning, P2PError, WrongThread
from twisted_p2p.node import Node

if TYPE_CHECKING:
    from twisted_p2p.backlog import Entry
    from twisted_p2p.core.actions import Banned
    from twisted_p2p.messages import Message, Prepared
    from twisted_p2p.reader import Item, MessageReader

UNACCEPTED_MAX, UNACCEPTED_BYTES = 1_000, 8 * 1024 * 1024
"""Messages on their way to the network, and their bytes, before `broadcast` waits."""
DELIVER_TIMEOUT = 10.0
"""Seconds for which `stop` waits for the callbacks of messages that have arrived."""
STOP_TIMEOUT = 30.0
"""Seconds for which `stop` waits for the node: it takes a few, unless there is a fault."""
_HOPELESS = (Reason.WRONG_NETWORK.value, Reason.WRONG_VERSION.value, Reason.OWN_ADDRESS.value)
"""Why a join will not work later either."""

T = TypeVar("T")


class Network:
    """A peer, for a program that knows no Deferreds.

        with Network() as peer:     # starts on any free port, and stops at the end
            peer.on_message(lambda message: print(message.message))
            peer.join_network()
            peer.broadcast("hello")

    Everything runs in a thread of its own, so several peers fit into one program. Callbacks run one at a time, in
    order, in another thread, and may call any method. What still runs when the program ends is stopped.
    """

    log = Logger()
    _make_node: Callable[..., Node] = Node

    def __init__(
        self,
        host: str = "localhost",
        *,
        network: str = "p2p",
        config: Config = LAN,
        data_dir: str | os.PathLike[str] | None = None,
        synchronous: str = "NORMAL",
        history: History | None = None,
        plaintext: bool = False,
        network_key_file: str | os.PathLike[str] | None = None,
        allow_file: str | os.PathLike[str] | None = None,
        deny_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Make a peer; `start` starts it.

        Args:
            host: the address of this machine to listen on, at which the others reach us.
            network: its name; peers of other networks are refused.
            config: a profile of settings.
            data_dir, synchronous, history, plaintext, network_key_file, allow_file, deny_file: as for `Node`.
        Raises:
            BadAddress: others can't reach that host.
        """
        if host in ("", "0.0.0.0", "::"):  # noqa: S104  # refused, not bound
            raise BadAddress(f"Others can't reach {host!r}; give an address of this machine.")
        interface = "127.0.0.1" if host == "localhost" else host
        self._settings: dict[str, Any] = {
            "interface": interface,
            "network": network,
            "config": config,
            "data_dir": data_dir,
            "synchronous": synchronous,
            "history": history,
            "plaintext": plaintext,
            "network_key_file": network_key_file,
            "allow_file": allow_file,
            "deny_file": deny_file,
        }
        self._on_message: list[Callable[[Message], object]] = []
        self._on_gap: list[Callable[[Gap], object]] = []
        self._on_fork: list[Callable[[Fork], object]] = []
        self._lock = threading.Lock()
        self._life: _Life | None = None

    # --- life

    def start(self, port: int = 0) -> None:
        """Listen, and be a network of one, which others may join.

        Args:
            port: 0 for any free one.
        Raises:
            CannotListen: the port is taken, or the host is not this machine.
            DataDirError, LogError: the data directory can't be used.
            AccessError: it can't be read who may join.
        """
        with self._lock:
            self._not_in_reactor()
            if self._life is not None:
                raise P2PError("This peer is running already; call stop() first.")
            node = functools.partial(self._make_node, port=port, **self._settings)
            life = _Life(node, self._settings["network"], self._deliver)
            life.start()
            self._life = life
            life.deliver()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Send what was broadcast, leave the network, let the callbacks have what has arrived, and end.

        It takes a few seconds at most, and up to 10 more where callbacks are slow. Does nothing where nothing runs.
        The peer may be started again: as a new one, with a new id, unless it has a data directory.
        """
        self._not_in_reactor()
        with self._lock:
            life, self._life = self._life, None
        if life is not None:
            atexit.unregister(self.stop)
            life.stop()

    def __enter__(self) -> Network:
        if self._life is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def join_network(self, ip: str = "127.0.0.1", port: int = 5050, timeout: float | None = 30.0) -> None:
        """Join the network of whoever listens there; it is tried again until it works.

        Args:
            ip: an address or a name.
            timeout: seconds; None waits for ever.
        Raises:
            JoinError: not joined in time, or we never shall be: it is another network, another version, or ourselves.
        """
        self._running().join(ip, port, timeout)

    def reload(self) -> None:
        """Read the network key file, the allow and the deny file, and the bans again. Whom they leave out is cut off.

        Raises:
            AccessError, DataDirError: one of them can't be read; all stays as it was.
        """
        life = self._running()
        life.call(lambda: defer.execute(life.node.reload)).result()

    # --- what there is

    @property
    def peer(self) -> str:
        """Our own id, 64 hex digits; a new one after each start, unless there is a data directory."""
        return self._running().node.peer

    @property
    def port(self) -> int:
        """The port that we listen on."""
        return self._running().node.port

    @property
    def nodes_in_network(self) -> list[dict[str, str | int]]:
        """Every peer of the network, ourselves included: [{"ip_addr", "port", "peer"}, ...]; none before the start."""
        return self._entries(lambda node: node.nodes_in_network)

    @property
    def connections(self) -> list[dict[str, str | int]]:
        """Our neighbours, in the same shape."""
        return self._entries(lambda node: node.connections)

    @property
    def bans(self) -> list[Banned]:
        """Who is not let in for a while, since it has broken the rules again and again: peers and IP addresses."""
        return self._ask(lambda node: node.bans)

    def lift(self, subject: str) -> bool:
        """End the ban of a peer or an address; whether there was one.

        Raises:
            DataDirError: the file of bans can't be written.
        """
        return self._ask(lambda node: node.lift(subject))

    def _ask(self, ask: Callable[[Node], T]) -> T:
        self._not_in_reactor()
        life = self._running()
        return life.call(lambda: defer.execute(ask, life.node)).result()

    def _entries(self, ask: Callable[[Node], list[dict[str, str | int]]]) -> list[dict[str, str | int]]:
        life = self._life
        if life is None:
            return []
        self._not_in_reactor()
        return life.call(lambda: defer.execute(ask, life.node)).result()

    # --- messages

    def broadcast(self, value: Any) -> str:
        """Broadcast any JSON value to every other peer; waits while the network can't take more.

        Returns:
            The message's id, 64 hex digits.
        Raises:
            MessageTooBig, NotJSON, NotRunning
            LogError: the log takes nothing; that may concern messages before this one, too, and says how many.
        """
        return self._running().broadcast(value)

    def messages(self, after: int | None = None, own: bool = False, timeout: float | None = None) -> Iterator[Item]:
        """Messages and gaps from the log, from a cursor on, and then as they arrive.

            for item in peer.messages(after=cursor):
                if not isinstance(item, Gap):           # then it is a Message
                    ...
                cursor = item.cursor                    # to be stored together with what the message has changed

        It ends when the peer is stopped. It waits for you, not the other way round: what you have not taken stays in
        the log, as long as that keeps it; what it takes before you come is a Gap (see `MessageReader`). Several
        threads may have one each.

        Args:
            after: the cursor of the last item that you are done with; 0: from the oldest that is held; None: from now.
            own: with our own broadcasts.
            timeout: seconds without an item, after which it ends; None: it waits for ever.
        Raises:
            NotRunning
        """
        life = self._running()
        reader = life.call(lambda: defer.execute(life.node.messages, after, own)).result()
        return life.read(reader, timeout)

    def on_message(self, callback: Callable[[Message], object]) -> None:
        """Call `callback` with every message that another peer broadcasts; may be called at any time.

        A callback that raises is logged, and stops nothing.
        """
        self._on_message.append(callback)

    def on_gap(self, callback: Callable[[Gap], object]) -> None:
        """Call `callback` when broadcasts of a peer can't be had any more.

        That is also the case when 100,000 messages, or 64 MiB of them, wait for callbacks: none after them is kept
        until those are done with, and then comes the Gap.
        """
        self._on_gap.append(callback)

    def on_fork(self, callback: Callable[[Fork], object]) -> None:
        """Call `callback` when a peer has signed two bundles of one number: two processes have its key, or it lies.

        Each peer keeps the one that came first, so others may have been handed another one.
        """
        self._on_fork.append(callback)

    def _deliver(self, item: object) -> None:
        if isinstance(item, Gap):
            for on_gap in tuple(self._on_gap):
                self._call(on_gap, item)
        elif isinstance(item, Fork):
            for on_fork in tuple(self._on_fork):
                self._call(on_fork, item)
        else:
            for on_message in tuple(self._on_message):
                self._call(on_message, item)

    def _call(self, callback: Callable[[Any], object], argument: object) -> None:
        try:
            callback(argument)
        except (Exception, SystemExit):  # noqa: BLE001  # an application's callback may raise anything, and stops nothing
            self.log.failure("A callback of the application failed")

    def _running(self) -> _Life:
        life = self._life
        if life is None:
            raise NotRunning()
        self._not_in_reactor()
        return life

    def _not_in_reactor(self) -> None:
        life = self._life
        if life is not None and threading.current_thread() is life.thread:
            raise WrongThread()


@attrs.define(eq=False)
class _Joining:
    """Who waits to have joined through an address, and why it has not worked so far."""

    address: tuple[str, int]
    reason: str = "no answer so far"
    done: defer.Deferred[None] = attrs.field(factory=defer.Deferred)


def _make_reactor() -> Any:
    if not hasattr(select, "epoll"):
        return SelectReactor()
    from twisted.internet.epollreactor import EPollReactor

    return EPollReactor()


class _Life:
    """One life of a peer, from start to stop: its reactor and thread, its node, the thread for its callbacks."""

    log = Logger()

    def __init__(self, make_node: Callable[[Any], Node], network: str, deliver: Callable[[object], object]) -> None:
        self.node: Node
        self._make_node = make_node
        self._network = network
        self._deliver = deliver
        self._backlog = Backlog(self._consume, time.time, "callbacks", batch=1)
        self._reactor = _make_reactor()
        self.thread = threading.Thread(target=self._run, name="p2p network", daemon=True)
        self._joinings: list[_Joining] = []
        self._pending: set[concurrent.futures.Future[Any]] = set()
        self._changed = threading.Condition()
        self._outbox: list[Prepared] = []
        self._unaccepted = self._unaccepted_bytes = 0
        self._refused, self._why_refused = 0, ""
        """How many messages the log did not take since that was last told, and why."""
        self._stopping = self._ended = False

    # --- the reactor's thread

    def _run(self) -> None:
        try:
            self._reactor.run(installSignalHandlers=False)
        finally:
            with self._changed:
                self._stopping = self._ended = True
                pending, self._pending = self._pending, set()
                self._changed.notify_all()
            for future in pending:
                future.set_exception(NotRunning())
            # Nobody else closes it, and a program may start and stop often.
            self._reactor.removeReader(self._reactor.waker)
            self._reactor.waker.connectionLost(Failure(NotRunning()))

    def call(self, function: Callable[[], defer.Deferred[T]]) -> concurrent.futures.Future[T]:
        """Call a function in the reactor's thread; the Future gets what its Deferred gets."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def settle(result: T | Failure) -> None:
            self._pending.discard(future)
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        with self._changed:
            if self._ended:
                raise NotRunning()
            self._pending.add(future)
            self._reactor.callFromThread(lambda: defer.maybeDeferred(function).addBoth(settle))
        return future

    # --- start and stop

    def start(self) -> None:
        """Start the threads and the node; raises CannotListen."""
        self.thread.start()
        try:
            self.call(lambda: defer.execute(self._start_node)).result()
        except BaseException:
            self._stop_reactor()
            raise

    def deliver(self) -> None:
        """Begin to call the callbacks."""
        self._backlog.start()

    def _start_node(self) -> None:
        node = self.node = self._make_node(self._reactor)
        node.on_messages(self._backlog.messages)
        node.on_gap(self._backlog.put)
        node.on_fork(self._backlog.put)
        node.on_change(self._change)
        node.privilegedStartService()
        node.startService()

    def stop(self) -> None:
        """Leave, and end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        try:
            self.call(self.node.stopService).result(STOP_TIMEOUT)
        except concurrent.futures.TimeoutError:
            self.log.critical("The peer did not stop within {seconds} s.", seconds=STOP_TIMEOUT)
        self._stop_reactor()
        left = self._backlog.close(DELIVER_TIMEOUT)
        if left:
            self.log.critical("{n} messages that had arrived were not given to the callbacks.", n=left)

    def _stop_reactor(self) -> None:
        self._reactor.callFromThread(self._reactor.stop)
        self.thread.join(STOP_TIMEOUT)

    # --- joining

    def join(self, host: str, port: int, timeout: float | None) -> None:
        """Join through an address; raises JoinError."""
        joining = _Joining((host, port))
        try:
            self.call(lambda: self._join(joining)).result(timeout)
        except concurrent.futures.TimeoutError:
            self._reactor.callFromThread(joining.done.cancel)
            raise JoinError(f"Not joined within {timeout:g} s. {self._why(joining)}") from None

    def _join(self, joining: _Joining) -> defer.Deferred[None]:
        # A reason may be told before join_network returns.
        self._joinings.append(joining)
        joined = self.node.join_network(*joining.address)
        joined.addCallbacks(joining.done.callback, lambda _: None)

        def over(result: T) -> T:
            self._joinings.remove(joining)
            joined.cancel()
            return result

        return joining.done.addBoth(over)

    def _change(self, changed: Changed) -> None:
        for joining in [*self._joinings]:
            if changed.kind is Kind.RETRY and joining.address == (changed.ip_addr, changed.port):
                joining.reason = changed.reason
                if changed.reason in _HOPELESS and not joining.done.called:
                    joining.done.errback(JoinError(self._why(joining)))

    def _why(self, joining: _Joining) -> str:
        return why_not_joined(address_text(*joining.address), joining.reason, self._network)

    # --- broadcasting

    def broadcast(self, value: Any) -> str:
        """Give a message to the reactor's thread, with all others that come before it takes them."""
        prepared = self.node.prepare(value)
        with self._changed:
            while not self._stopping and self._is_full():
                self._changed.wait()
            if self._stopping:
                raise NotRunning()
            if self._refused:
                refused, self._refused = self._refused, 0
                raise LogError(f"{self._why_refused} {refused} messages before this one were not broadcast either.")
            self._unaccepted += 1
            self._unaccepted_bytes += prepared.size
            self._outbox.append(prepared)
            if len(self._outbox) == 1:
                self._reactor.callFromThread(self._flush)
        return prepared.id

    def _is_full(self) -> bool:
        return self._unaccepted >= UNACCEPTED_MAX or self._unaccepted_bytes >= UNACCEPTED_BYTES

    def _flush(self) -> None:
        with self._changed:
            messages, self._outbox = self._outbox, []
        done = defer.maybeDeferred(self.node.broadcast_prepared, messages)
        done.addBoth(self._accepted, len(messages), sum(message.size for message in messages))

    def _accepted(self, result: object, count: int, size: int) -> None:
        with self._changed:
            self._unaccepted -= count
            self._unaccepted_bytes -= size
            self._changed.notify_all()
            if isinstance(result, Failure) and result.check(LogError):
                self._refused, self._why_refused = self._refused + count, str(result.value)
        if isinstance(result, Failure):
            self.log.failure("{n} messages were not broadcast", result, n=count)

    # --- reading

    def read(self, reader: MessageReader, timeout: float | None) -> Iterator[Item]:
        """What a reader has, a batch at a time."""
        try:
            while items := self._next_batch(reader, timeout):
                yield from items
        finally:
            with contextlib.suppress(NotRunning):
                self.call(lambda: defer.execute(reader.close))

    def _next_batch(self, reader: MessageReader, timeout: float | None) -> list[Item]:
        """The next items; none: there is no more, or not in time."""
        if threading.current_thread() is self.thread:
            raise WrongThread()
        try:
            return self.call(lambda: defer.Deferred.fromCoroutine(reader.next_batch())).result(timeout)
        except (NotRunning, concurrent.futures.TimeoutError):
            return []

    # --- the callbacks' thread

    def _consume(self, entries: list[Entry]) -> None:
        for _, item in entries:
            for each in item if isinstance(item, list) else [item]:
                if self._backlog.abandoned:
                    return
                self._deliver(each)
