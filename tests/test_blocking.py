"""The network for a plain program, on a node that is none: no socket is opened here."""

import gc
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.blocking import UNACCEPTED_BYTES, UNACCEPTED_MAX, Network
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind, Reason
from twisted_p2p.core.config import LAN, WAN
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.core.wire import bundle_line
from twisted_p2p.errors import (
    BadAddress,
    CannotListen,
    JoinError,
    MessageTooBig,
    NotRunning,
    P2PError,
    WrongThread,
)
from twisted_p2p.messages import Encoder, Message, Prepared
from twisted_p2p.reader import Bell, MessageReader

A = "a" * 64
PATIENCE = 20.0  # seconds for a thread to answer: what hangs must fail


def message(value: Any, seq: int = 1) -> Message:
    return Message(value, 0.0, A, 1, seq, "0" * 64)


class FakeNode:
    """A node in the test's hands; its methods are called in the reactor's thread."""

    peer = A
    error: Exception | None = None

    def __init__(self, reactor: Any, **arguments: Any) -> None:
        self.reactor, self.arguments = reactor, arguments
        self.port = arguments["port"] or 4711
        self.thread = threading.current_thread()
        self.steps: list[Any] = []
        self.batches: queue.Queue[tuple[list[bytes], Deferred[None]]] = queue.Queue()
        self.joins: queue.Queue[tuple[str, int]] = queue.Queue()
        self.joined: Deferred[None] = Deferred()
        self.reasons: list[Reason] = []
        self.accepts = True
        self.nodes_in_network = [{"ip_addr": "127.0.0.1", "port": self.port, "peer": A}]
        self.connections: list[Any] = []
        self.log = MemoryLog(LAN)
        self.core, self.clock = self, reactor
        self.bell = Bell(self)  # type: ignore[arg-type]  # all that it needs of a shell

    def messages(self, after: "int | None", own: bool) -> MessageReader:
        assert threading.current_thread() is self.thread
        return MessageReader(self.bell, self.peer, after, own)

    def keep(self, *values: Any) -> None:
        """Keep a bundle of these, as if it had arrived."""
        seq = self.log.last + 1
        encoder = Encoder(1000, 1000)
        groups = encoder.groups(encoder.prepare(value, 0.0) for value in values)
        line = bundle_line("b" * 64, 7, seq, "0" * 128, b"[%b]" % b",".join(groups))
        self.log.append(("b" * 64, 7), seq, line, 0.0)
        self.bell.ring()

    def on_messages(self, callback: Any) -> None:
        self.heard = callback

    def on_fork(self, callback: Any) -> None:
        self.fork = callback

    def on_gap(self, callback: Any) -> None:
        self.gap = callback

    def on_change(self, callback: Any) -> None:
        self.change = callback

    def privilegedStartService(self) -> None:
        if FakeNode.error is not None:
            raise FakeNode.error
        self.steps.append("listen")

    def startService(self) -> None:
        self.steps.append("start")
        self.bell.open()

    def stopService(self) -> Deferred[None]:
        assert threading.current_thread() is self.thread
        self.steps.append("stop")
        return succeed(None)

    def join_network(self, host: str, port: int) -> Deferred[None]:
        assert threading.current_thread() is self.thread
        self.joined = Deferred()
        self.joins.put((host, port))
        for reason in self.reasons:
            self.change(Changed(Kind.RETRY, "", host, port, reason.value, 1.0))
        return self.joined

    def prepare(self, value: str) -> Prepared:
        if value == "big":
            raise MessageTooBig(2, 1)
        return Prepared(f"id of {value}"[:20], 0, 0.0, value.encode())

    def broadcast_prepared(self, messages: list[Prepared]) -> Deferred[None]:
        assert threading.current_thread() is self.thread
        accepted: Deferred[None] = Deferred()
        self.batches.put(([message.value for message in messages], accepted))
        if self.accepts:
            accepted.callback(None)
        return accepted


class NetworkTests(SynchronousTestCase):
    """`Network` in any Python program."""

    def setUp(self) -> None:
        self.addCleanup(setattr, FakeNode, "error", None)
        self.log: list[Any] = []
        globalLogPublisher.addObserver(self.log.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.log.append)
        self.nodes: list[FakeNode] = []
        self.peer = self.make()

    def make(self, *arguments: Any, **settings: Any) -> Network:
        peer = Network(*arguments, **settings)

        def make_node(*arguments: Any, **settings: Any) -> Any:
            self.nodes.append(FakeNode(*arguments, **settings))
            return self.nodes[-1]

        peer._make_node = make_node
        self.addCleanup(peer.stop)
        return peer

    @property
    def node(self) -> FakeNode:
        return self.nodes[-1]

    def in_reactor(self, call: Callable[[], Any]) -> Any:
        """What a call in the reactor's thread returns or raises."""
        life = self.peer._life
        assert life is not None
        return life.call(lambda: execute(call)).result(PATIENCE)

    def in_thread(self, call: Callable[[], Any]) -> "queue.Queue[Any]":
        """What a call in another thread returns or raises, once it does."""
        results: queue.Queue[Any] = queue.Queue()

        def run() -> None:
            try:
                results.put(call())
            except P2PError as error:
                results.put(error)

        threading.Thread(target=run, daemon=True).start()
        return results

    def heard(self) -> "queue.Queue[Any]":
        """What the callbacks get."""
        results: queue.Queue[Any] = queue.Queue()
        self.peer.on_message(lambda message: results.put(message.message))
        return results

    # --- life

    def test_start(self) -> None:
        """The peer listens when `start` returns, with the host and settings that were given."""
        self.peer = self.make("localhost", network="chat", config=WAN)
        self.peer.start()
        self.assertEqual(self.node.steps, ["listen", "start"])
        expected = {"port": 0, "interface": "127.0.0.1", "network": "chat", "config": WAN}
        nothing = {"data_dir": None, "synchronous": "NORMAL", "history": None, "plaintext": False}
        nothing |= {"network_key_file": None, "allow_file": None, "deny_file": None}
        self.assertEqual(self.node.arguments, expected | nothing)
        self.assertEqual(self.peer.port, 4711)
        self.assertEqual(self.peer.peer, A)
        self.assertEqual(self.peer.nodes_in_network, self.node.nodes_in_network)
        self.assertEqual(self.peer.connections, [])

    def test_hosts(self) -> None:
        """A host at which nobody can reach us is refused at once."""
        for host in ("", "0.0.0.0", "::"):
            self.assertRaises(BadAddress, Network, host)
        self.make("::1").start(5)
        self.assertEqual(self.node.arguments["interface"], "::1")

    def test_taken_port(self) -> None:
        """A taken port is an error of `start`; nothing is left behind, and another port may be tried."""
        FakeNode.error = CannotListen("taken")
        threads = threading.active_count()
        error = self.assertRaises(CannotListen, self.peer.start, 5050)
        self.assertEqual(str(error), "taken")
        self.assertEqual(threading.active_count(), threads)
        FakeNode.error = None
        self.peer.start(5051)
        self.assertEqual(self.peer.port, 5051)

    def test_stop(self) -> None:
        """It leaves, its threads end, and it may be started again, as a new peer."""
        threads = threading.active_count()
        for _ in range(2):
            self.peer.start()
            self.assertGreater(threading.active_count(), threads)
            self.peer.stop()
            self.assertEqual(self.node.steps, ["listen", "start", "stop"])
            self.assertEqual(threading.active_count(), threads)
        self.assertIsNot(self.nodes[0], self.nodes[1])
        self.peer.stop()

    def test_no_leak(self) -> None:
        """A program may start and stop as often as it likes."""

        def descriptors() -> int:
            self.nodes.clear()
            gc.collect()
            return len(os.listdir("/dev/fd"))

        before = descriptors()
        for _ in range(10):
            self.peer.start()
            self.peer.stop()
        self.assertEqual(descriptors(), before)

    def test_not_running(self) -> None:
        """Before the start, and after the stop, there is no network: what needs one says so."""
        for _ in range(2):
            self.assertRaises(NotRunning, self.peer.broadcast, "x")
            self.assertRaises(NotRunning, self.peer.join_network)
            self.assertRaises(NotRunning, self.peer.reload)
            self.assertRaises(NotRunning, lambda: self.peer.port)
            self.assertEqual(self.peer.nodes_in_network, [])
            self.assertEqual(self.peer.connections, [])
            self.peer.start()
            self.peer.stop()

    def test_started_twice(self) -> None:
        """A peer that runs can't be started."""
        self.peer.start()
        self.assertRaises(P2PError, self.peer.start)

    def test_context(self) -> None:
        """`with` starts and stops."""
        with self.peer as peer:
            self.assertEqual(peer.port, 4711)
        self.assertEqual(self.node.steps[-1], "stop")
        self.peer.start(7)
        with self.peer as peer:
            self.assertEqual(peer.port, 7)
        self.assertRaises(NotRunning, lambda: self.peer.port)

    def test_wrong_thread(self) -> None:
        """In the network's own thread a call that would wait for itself is refused."""
        self.peer.start()
        items = self.peer.messages(0)
        for call in (
            self.peer.stop,
            self.peer.start,
            self.peer.join_network,
            lambda: self.peer.broadcast("x"),
            lambda: self.peer.nodes_in_network,
            self.peer.messages,
            lambda: next(items),
        ):
            self.assertRaises(WrongThread, self.in_reactor, call)

    # --- joining

    def test_join(self) -> None:
        """`join_network` returns when we have joined."""
        self.peer.start()
        result = self.in_thread(self.peer.join_network)
        self.assertEqual(self.node.joins.get(timeout=PATIENCE), ("127.0.0.1", 5050))
        self.in_reactor(lambda: self.node.joined.callback(None))
        self.assertIsNone(result.get(timeout=PATIENCE))

    def test_join_in_time(self) -> None:
        """When it takes too long, the error names the address and the last reason."""
        self.peer.start()
        self.node.reasons = [Reason.CLOSED, Reason.UNREACHABLE]
        error = self.assertRaises(JoinError, self.peer.join_network, "::1", 7, timeout=0.1)
        self.assertEqual(str(error), "Not joined within 0.1 s. Nobody answers at [::1]:7; is the genesis running?")

    def test_join_without_answer(self) -> None:
        """Where nothing is known about the reason, none is made up."""
        self.peer.start()
        error = self.assertRaises(JoinError, self.peer.join_network, timeout=0.0)
        self.assertIn("could not be joined through 127.0.0.1:5050: no answer so far.", str(error))

    def test_join_again(self) -> None:
        """After a failure it may be tried again."""
        self.peer.start()
        self.assertRaises(JoinError, self.peer.join_network, timeout=0.0)
        self.node.joins.get(timeout=PATIENCE)
        result = self.in_thread(lambda: self.peer.join_network(timeout=None))
        self.node.joins.get(timeout=PATIENCE)
        self.in_reactor(lambda: self.node.joined.callback(None))
        self.assertIsNone(result.get(timeout=PATIENCE))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_join_hopeless(self) -> None:
        """Another network is no matter of time."""
        self.peer.start()
        self.node.reasons = [Reason.UNREACHABLE, Reason.WRONG_NETWORK, Reason.WRONG_NETWORK]
        error = self.assertRaises(JoinError, self.peer.join_network, timeout=None)
        self.assertIn("127.0.0.1:5050 is not in the network p2p", str(error))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_join_and_stop(self) -> None:
        """Who waits to have joined is told when another thread stops the peer."""
        self.peer.start()
        result = self.in_thread(lambda: self.peer.join_network(timeout=None))
        self.node.joins.get(timeout=PATIENCE)
        self.peer.stop()
        self.assertIsInstance(result.get(timeout=PATIENCE), NotRunning)

    # --- broadcasting

    def test_broadcast(self) -> None:
        """A message's id is there at once; the node gets everything, in order, many at a time."""
        self.peer.start()
        ids = [self.peer.broadcast(f"{number}") for number in range(5000)]
        self.assertEqual(ids[17], "id of 17" + "0" * 16)
        got: list[bytes] = []
        batches = 0
        while len(got) < 5000:
            got += self.node.batches.get(timeout=PATIENCE)[0]
            batches += 1
        self.assertEqual(got, [b"%d" % number for number in range(5000)])

    def test_too_big(self) -> None:
        """What does not fit is an error at once."""
        self.peer.start()
        self.assertRaises(MessageTooBig, self.peer.broadcast, "big")

    def fill(self, size: int, count: int) -> "queue.Queue[Any]":
        """Broadcast `count` messages of `size` bytes in a thread, to a node that accepts nothing for now."""
        self.peer.start()
        self.node.accepts = False
        return self.in_thread(lambda: [self.peer.broadcast("x" * size) for _ in range(count)])

    def accept_all(self) -> tuple[int, int]:
        """Accept what the node was given while that goes on; how many messages, and the most at once."""
        count = most = 0
        while True:
            try:
                messages, accepted = self.node.batches.get(timeout=PATIENCE if not count else 0.0)
            except queue.Empty:
                return count, most
            count += len(messages)
            most = max(most, len(messages))
            self.in_reactor(lambda accepted=accepted: accepted.callback(None))

    def test_back_pressure(self) -> None:
        """The caller waits while the network takes no more, and goes on when it does."""
        for size, limit in ((1, UNACCEPTED_MAX), (UNACCEPTED_BYTES // 4, 4)):
            result = self.fill(size, 3 * limit)
            count = most = 0
            while count < 3 * limit:
                more, batch = self.accept_all()
                count += more
                most = max(most, batch)
            self.assertEqual(len(result.get(timeout=PATIENCE)), 3 * limit)
            self.assertLessEqual(most, limit)
            self.peer.stop()

    def test_stop_while_waiting(self) -> None:
        """Who waits to broadcast is told when another thread stops the peer."""
        result = self.fill(1, UNACCEPTED_MAX + 1)
        self.node.batches.get(timeout=PATIENCE)
        self.peer.stop()
        self.assertIsInstance(result.get(timeout=PATIENCE), NotRunning)

    # --- reading

    def test_messages(self) -> None:
        """A loop has what is kept, from a cursor on, and then what comes."""
        self.peer.start()
        self.in_reactor(lambda: self.node.keep("a", "b"))
        items = self.peer.messages(after=0)
        first = next(items)
        assert isinstance(first, Message)
        self.assertEqual(first.message, "a")
        after = self.peer.messages(after=first.cursor)
        for reading in (items, after):
            self.assertEqual(self.said(next(reading)), "b")
        result = self.in_thread(lambda: [self.said(next(after)), self.said(next(items))])
        self.in_reactor(lambda: self.node.keep("c"))
        self.assertEqual(result.get(timeout=PATIENCE), ["c", "c"])

    def said(self, item: Any) -> Any:
        return item.message

    def test_messages_from_now(self) -> None:
        """Without a cursor it begins with the call, not with the first item."""
        self.peer.start()
        self.in_reactor(lambda: self.node.keep("before"))
        items = self.peer.messages()
        self.in_reactor(lambda: self.node.keep("after"))
        self.assertEqual(self.said(next(items)), "after")

    def test_messages_timeout(self) -> None:
        """Where nothing comes in time, the loop ends; another one goes on behind the last item."""
        self.peer.start()
        self.in_reactor(lambda: self.node.keep("a"))
        items = [*self.peer.messages(0, timeout=0.05)]
        self.assertEqual([self.said(item) for item in items], ["a"])
        self.assertEqual(self.in_reactor(lambda: len(self.node.bell._waiting)), 0)
        self.in_reactor(lambda: self.node.keep("b"))
        self.assertEqual(self.said(next(self.peer.messages(items[-1].cursor, timeout=PATIENCE))), "b")

    def test_messages_in_threads(self) -> None:
        """Several threads read at once, each all of it, however slow."""
        self.peer.start()

        def read() -> list[Any]:
            found = []
            for item in self.peer.messages(after=0):
                found.append(self.said(item))
                if found[-1] == 199:
                    return found
            return found

        results = [self.in_thread(read) for _ in range(4)]
        for number in range(200):
            self.in_reactor(lambda number=number: self.node.keep(number))
        for result in results:
            self.assertEqual(result.get(timeout=PATIENCE), list(range(200)))

    def test_messages_and_stop(self) -> None:
        """When the peer is stopped, loops end, in whichever thread; a loop may stop it itself."""
        self.peer.start()
        waiting = self.in_thread(lambda: [*self.peer.messages()])
        self.in_reactor(lambda: self.node.keep("a", "b"))
        said = []
        for item in self.peer.messages(after=0):
            said.append(self.said(item))
            self.peer.stop()
        self.assertEqual(said, ["a", "b"])
        self.assertLessEqual(len(waiting.get(timeout=PATIENCE)), 2)
        self.assertRaises(NotRunning, self.peer.messages)

    def test_messages_closed(self) -> None:
        """A loop that is left leaves nothing behind."""
        self.peer.start()
        self.in_reactor(lambda: self.node.keep("a"))
        for item in self.peer.messages(after=0):
            self.assertEqual(self.said(item), "a")
            break
        gc.collect()
        self.in_reactor(lambda: None)
        life = self.peer._life
        assert life is not None
        self.assertEqual((len(life._pending), self.node.bell._waiting), (0, []))

    # --- callbacks

    def test_callbacks(self) -> None:
        """Callbacks are called in order, one at a time, in a thread that is neither ours nor the network's."""
        threads: list[threading.Thread] = []
        self.peer.on_message(lambda message: threads.append(threading.current_thread()))
        heard = self.heard()
        self.peer.start()
        later = self.heard()
        self.in_reactor(lambda: self.node.heard([message(1), message(2)]))
        self.in_reactor(lambda: self.node.heard([message(3)]))
        for results in (heard, later):
            self.assertEqual([results.get(timeout=PATIENCE) for _ in range(3)], [1, 2, 3])
        self.assertEqual(len(set(threads)), 1)
        self.assertNotIn(threads[0], (threading.current_thread(), self.node.thread))

    def test_gaps(self) -> None:
        """A gap is told in its place."""
        heard = self.heard()
        self.peer.on_gap(heard.put)
        self.peer.start()
        gap = Gap(A, 1, 2, 3)
        self.in_reactor(lambda: self.node.heard([message(1)]))
        self.in_reactor(lambda: self.node.gap(gap))
        self.in_reactor(lambda: self.node.heard([message(4)]))
        self.assertEqual([heard.get(timeout=PATIENCE) for _ in range(3)], [1, gap, 4])

    def test_forks(self) -> None:
        """A fork is told."""
        forks: queue.Queue[Any] = queue.Queue()
        self.peer.on_fork(forks.put)
        self.peer.start()
        fork = Fork(A, 1, 2, b"", b"")
        self.in_reactor(lambda: self.node.fork(fork))
        self.assertEqual(forks.get(timeout=PATIENCE), fork)

    def test_failing_callback(self) -> None:
        """A callback that raises, or would end the program, is logged and stops nothing."""
        error: BaseException
        for error in (ValueError("x"), SystemExit(3)):

            def fail(message: Message, error: BaseException = error) -> None:
                raise error

            self.peer.on_message(fail)
        heard = self.heard()
        self.peer.start()
        self.in_reactor(lambda: self.node.heard([message(1), message(2)]))
        self.assertEqual([heard.get(timeout=PATIENCE) for _ in range(2)], [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 2)

    def test_broadcast_in_callback(self) -> None:
        """A callback may broadcast: a bot that answers."""
        self.peer.on_message(lambda message: self.peer.broadcast(f"re: {message.message}"))
        self.peer.start()
        self.in_reactor(lambda: self.node.heard([message("a")]))
        self.assertEqual(self.node.batches.get(timeout=PATIENCE)[0], [b"re: a"])

    def test_stop_in_callback(self) -> None:
        """A callback may stop the peer; it gets nothing further, and what it misses is counted in the log."""
        stopped: queue.Queue[Any] = queue.Queue()

        def stop(message: Message) -> None:
            self.peer.stop()
            stopped.put(message.message)

        self.peer.on_message(stop)
        self.peer.start()
        self.in_reactor(lambda: (self.node.heard([message(1)]), self.node.heard([message(2)])))
        self.assertEqual(stopped.get(timeout=PATIENCE), 1)
        self.assertRaises(NotRunning, self.peer.broadcast, "x")
        self.assertTrue(stopped.empty())
        self.assertEqual([event["n"] for event in self.log if "not given" in str(event.get("log_format"))], [1])

    def test_stop_delivers(self) -> None:
        """What has arrived before the stop is given to the callbacks."""
        heard = self.heard()
        self.peer.start()
        self.in_reactor(lambda: self.node.heard([message(number) for number in range(1000)]))
        self.peer.stop()
        self.assertEqual([heard.get_nowait() for _ in range(1000)], list(range(1000)))

    def test_several(self) -> None:
        """Peers in one program know nothing of one another."""
        self.peer.start()
        other = self.make()
        other.start()
        self.assertIsNot(self.nodes[0].thread, self.nodes[1].thread)
        self.assertIsNot(self.nodes[0].reactor, self.nodes[1].reactor)
        self.peer.stop()
        self.assertEqual(other.port, 4711)
