"""Every target runs its corpus, and some new inputs that are the same in every run."""

import tempfile
from itertools import islice
from pathlib import Path

from twisted.logger import LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import bodies, targets
from tests.fuzz.choices import Choices
from tests.fuzz.core import STEPS, Play
from tests.fuzz.engine import inputs
from tests.fuzz.framing import lines_of
from tests.fuzz.shell import SMALL, Shell
from tests.fuzz.targets import CORPUS, TARGETS, Target
from tests.fuzz.values import TITLES, Values
from tests.fuzz.watch import Watch
from twisted_p2p import messages
from twisted_p2p.core import wire

RUNS = {"framing": 1500, "decoding": 3000, "frames": 1000, "bodies": 3000, "messages": 300, "core": 300}
"""New inputs of a target, for two seconds or less of each; of any other target 100."""


class CorpusTests(SynchronousTestCase):
    """What is kept of earlier runs, each finding among it, and new inputs."""

    def run_target(self, name: str) -> None:
        """The corpus, then inputs made of it."""
        target = TARGETS[name]
        corpus = target.corpus()
        for data in islice(inputs(corpus, target.length, seed=1), len(corpus) + RUNS.get(name, 100)):
            try:
                target.call(data)
            except Exception as error:
                file = Path(self.mktemp()).absolute()
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                raise AssertionError(f"To see it again: python -m tests.fuzz {name} --replay {file}") from error

    def test_framing(self) -> None:
        """Lines are the same however their bytes are cut into reads (rows 1 to 3)."""
        self.run_target("framing")

    def test_decoding(self) -> None:
        """Whatever a line is, it is a frame, ignored, or a BadFrame (rows 5 to 8)."""
        self.run_target("decoding")

    def test_frames(self) -> None:
        """Frames that were changed a little are read as Python's own reader reads them, or refused (rows 5 to 9)."""
        self.run_target("frames")

    def test_bodies(self) -> None:
        """Whatever an origin signs is shown in lines that control no terminal."""
        self.patch(messages, "_log", messages.Logger(observer=LogPublisher()))
        self.run_target("bodies")

    def test_messages(self) -> None:
        """So are messages that were made to control one."""
        self.patch(messages, "_log", messages.Logger(observer=LogPublisher()))
        self.run_target("messages")

    def test_core(self) -> None:
        """Whatever peers say and do, a peer goes on, keeps to its bounds, and does nothing without end."""
        self.run_target("core")

    def test_data_dir(self) -> None:
        """A data directory opens, or it is said in one line why not."""
        self.run_target("data-dir")

    def test_access_files(self) -> None:
        """Keys and lists are read, or it is said which line is wrong, and nothing of a key."""
        self.run_target("access-files")

    def test_bans_file(self) -> None:
        """Bans are read and written again, or it is said which line is none."""
        self.run_target("bans-file")

    def test_events_file(self) -> None:
        """The end of a file of events is found whatever is in it."""
        self.run_target("events-file")

    def test_log_file(self) -> None:
        """A peer starts on a log in which something was changed, or says that it is damaged."""
        self.run_target("log-file")

    def test_options(self) -> None:
        """What is typed after `twistd -n p2p` is understood, or it is said in one line why not."""
        self.run_target("options")

    def test_all_are_run(self) -> None:
        """Each target has a test here, and no file lies in the corpus of none; all are few and small."""
        for name in TARGETS:
            self.assertTrue(hasattr(self, f"test_{name.replace('-', '_')}"), name)
        self.assertEqual(sorted(folder.name for folder in CORPUS.iterdir()), sorted(TARGETS))
        files = [file for file in CORPUS.rglob("*") if file.is_file()]
        self.assertLess(len(files), 200)
        self.assertLess(sum(file.stat().st_size for file in files), 300 * 1024)


class SharpTests(SynchronousTestCase):
    """The targets can fail."""

    def test_framing(self) -> None:
        """A splitter that delivers what comes after too long a line is found."""
        self.assertEqual(lines_of(b"a\nbcd\ne\n", 2), ([b"a"], True))
        self.patch(targets.fuzz_framing.__globals__["LineSplitter"], "_is_too_long", lambda self, line: False)
        self.assertRaises(AssertionError, targets.fuzz_framing, bytes([1, 5 << 3]) + b"abcd\n")

    def test_decoding(self) -> None:
        """A reader that lets a name come twice is found."""
        line = b'{"title":"#PING","n":1,"n":2,"x":{"y":1,"y":2}}'
        targets.fuzz_decoding(line)
        self.patch(wire, "_check_names", lambda line: None)
        self.patch(wire, "decode", lambda line: wire.Ping(3))
        self.assertRaises(AssertionError, targets.fuzz_decoding, line)

    def test_shown(self) -> None:
        """A character that controls a terminal is found, at every place where one may be."""
        for text in ("\x1b[2J\n", "\x07\n", "\x7f\n", "\u009b\n", "\u202e\n", "\u2066\n", "\u2028\n", "\r\n", "\n\n"):
            self.assertRaises(AssertionError, bodies.check_shown, text.encode(), 1)

    def test_tables(self) -> None:
        """A table that grows with what comes is found."""
        shell = Shell(SMALL)
        shell.check_tables()
        shell.core.detection.suspicions |= dict.fromkeys(map(str, range(1000)))  # type: ignore[arg-type]
        error = self.assertRaises(AssertionError, shell.check_tables)
        self.assertIn("Detection.suspicions has 1000 entries", str(error))

    def test_busy_loop(self) -> None:
        """A core that wants to be woken at once, again and again, is found."""
        shell = Shell(SMALL)

        def again() -> None:
            shell.core.turn.timers.after(0.0, again)

        again()
        self.assertIn("woken", str(self.assertRaises(AssertionError, shell.pass_time, 1.0)))

    def test_everything_is_reached(self) -> None:
        """Bytes make every frame, and every step."""
        for title in TITLES:
            for seed in range(20):
                values = Values(Choices(bytes((seed * 37 + n * 11) % 256 for n in range(2000))))
                line = wire.encode(values.frame(title))
                self.assertIn(title.encode(), line)
                self.assertIsNotNone(wire.decode(line))
        self.assertEqual(len(STEPS), 32)
        for step in STEPS:
            choices = Choices(b"\x01" * 400)
            shell = Shell(SMALL)
            play = Play(choices, shell, Values(choices, shell.hashes))
            play.meet()
            step(play)


class WatchTests(SynchronousTestCase):
    """What a long run says."""

    def test_finding(self) -> None:
        """An input that raises is saved, the run ends, and the exit code says so."""

        def fail(data: bytes) -> None:
            if data == b"bad":
                raise ValueError("as it should")

        folder = Path(self.mktemp())
        watch = Watch(Target("failing", fail, 10), 10, folder)
        self.assertTrue(watch.run(b"good"))
        self.assertFalse(watch.run(b"bad"))
        assert watch.found is not None
        self.assertEqual((watch.found.read_bytes(), watch.end()), (b"bad", 1))

    def test_whole(self) -> None:
        """Without one it ends after so many runs, with 0."""
        watch = Watch(Target("fine", lambda data: None, 10), 3, Path(tempfile.gettempdir()))
        self.assertEqual([watch.run(b"") for _ in range(3)], [True, True, False])
        self.assertEqual(watch.end(), 0)
        self.assertIn("fine: 3 runs", watch.summary())

    def test_same_inputs(self) -> None:
        """The same seed makes the same inputs, whatever the hash of a text is in this run."""
        several = [[*islice(inputs([b"abc", b"defg"], 20, seed), 50)] for seed in (1, 1, 2)]
        self.assertEqual(several[0], several[1])
        self.assertNotEqual(several[0], several[2])
        self.assertLessEqual(max(map(len, several[0])), 20)
        self.assertEqual(several[0][:2], [b"abc", b"defg"])
