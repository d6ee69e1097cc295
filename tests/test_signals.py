"""What signals do to the program."""

import signal

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p import signals as module
from twisted_p2p.signals import Signals


class SignalsTests(SynchronousTestCase):
    """Signals that would otherwise end the process without a word to the others."""

    def test_restored(self) -> None:
        """Handlers are there while the service runs, and as before afterwards."""
        before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)]
        signals = Signals()
        signals.install()
        self.addCleanup(signals.restore)
        during = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)]
        self.assertTrue(all(map(callable, during)) or before != [signal.SIG_DFL] * 2)
        signals.restore()
        self.assertEqual([signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)], before)

    def test_leave(self) -> None:
        """SIGQUIT, and a terminal's hang-up, are what SIGTERM is: the reactor stops the services."""
        seen: list[int] = []
        old = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
        self.addCleanup(signal.signal, signal.SIGTERM, old)
        Signals()._leave(signal.SIGQUIT, None)
        self.assertEqual(seen, [signal.SIGTERM])

    def test_end_once(self) -> None:
        """Who presses Ctrl-C twice, or presses it and sends SIGTERM, stops the reactor once."""
        seen: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, lambda number, frame: seen.append(number))
            self.addCleanup(signal.signal, number, old)
        Signals().end_once()
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        self.assertEqual(seen, [signal.SIGINT])

    def test_end_once_ignored(self) -> None:
        """What is ignored, as by a shell for what it starts in the background, stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        Signals().end_once()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)

    def test_ignored(self) -> None:
        """What was ignored, as by nohup, stays ignored."""
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN))
        signals = Signals()
        signals.install()
        self.addCleanup(signals.restore)
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_ignored_and_reloading(self) -> None:
        """Where there are files to read again nohup only means that a terminal's hang-up ends nothing."""
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN))
        reloads: list[int] = []
        signals = Signals(lambda: reloads.append(1))
        signals.install()
        self.addCleanup(signals.restore)
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(reloads, [1])
        signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_terminal(self) -> None:
        """While there is a terminal SIGHUP means to read again; if it is gone, to leave."""
        steps: list[str] = []
        signals = Signals(lambda: steps.append("reload"))
        signals._leave = lambda number, frame: steps.append("leave")  # type: ignore[method-assign]  # it would end us
        for has_terminal in (True, False):
            self.patch(module, "_has_terminal", lambda has=has_terminal: has)
            signals._hung_up(signal.SIGHUP, None)
        self.assertEqual(steps, ["reload", "leave"])
