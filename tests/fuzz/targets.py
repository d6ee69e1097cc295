"""What is fuzzed, and the inputs that are kept of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from tests.fuzz.bodies import fuzz_bodies
from tests.fuzz.core import fuzz_core
from tests.fuzz.decoding import fuzz_decoding
from tests.fuzz.files import fuzz_access_files, fuzz_bans_file, fuzz_data_dir, fuzz_events_file
from tests.fuzz.framing import fuzz_framing
from tests.fuzz.logfile import fuzz_log_file
from tests.fuzz.options import fuzz_options
from tests.fuzz.structured import fuzz_frames, fuzz_messages

CORPUS = Path(__file__).with_name("corpus")


@attrs.frozen
class Target:
    """One thing that is fuzzed.

    Attributes:
        call: takes an input; what it raises is a finding.
        length: bytes of the longest input that is made.
    """

    name: str
    call: Callable[[bytes], None]
    length: int

    @property
    def folder(self) -> Path:
        """Where the inputs are that are kept."""
        return CORPUS / self.name

    def corpus(self) -> list[bytes]:
        """The inputs that are kept, always in the same order."""
        return [file.read_bytes() for file in sorted(self.folder.iterdir())]


TARGETS = {
    target.name: target
    for target in (
        Target("framing", fuzz_framing, 512),
        Target("decoding", fuzz_decoding, 4096),
        Target("frames", fuzz_frames, 512),
        Target("bodies", fuzz_bodies, 2048),
        Target("messages", fuzz_messages, 512),
        Target("core", fuzz_core, 1024),
        Target("data-dir", fuzz_data_dir, 512),
        Target("access-files", fuzz_access_files, 512),
        Target("bans-file", fuzz_bans_file, 256),
        Target("events-file", fuzz_events_file, 1024),
        Target("log-file", fuzz_log_file, 64),
        Target("options", fuzz_options, 512),
    )
}
