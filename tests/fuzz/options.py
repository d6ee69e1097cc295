"""What a user may type after `twistd -n p2p`."""

from __future__ import annotations

import contextlib
import io

from twisted.python.usage import UsageError

from tests.fuzz.choices import Choices
from twisted_p2p.errors import BadAddress
from twisted_p2p.options import Options, parse_address

WORDS = (
    "--join",
    "--port",
    "--interface",
    "--advertise",
    "--network",
    "--max-known",
    "--data-dir",
    "--synchronous",
    "--history",
    "--events",
    "--genesis",
    "--plaintext",
    "--ephemeral",
    "--no-console",
    "127.0.0.1:5050",
    "[::1]:5050",
    "all",
    "5",
    "9" * 5000,
)


def fuzz_options(data: bytes) -> None:
    """Words: they are understood, or a UsageError says on one line what is wrong."""
    choices = Choices(data)
    words = list[str]()
    while choices.left:
        number = choices.byte()
        if number < 2 * len(WORDS):
            words.append(WORDS[number % len(WORDS)])
        else:
            words.append(choices.take(number % 40).replace(b"\0", b"").decode("utf-8", "surrogateescape"))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            Options().parseOptions(words)
    except UsageError as error:
        assert "\n" not in str(error), str(error)
    except SystemExit as end:
        assert not end.code
    for word in words:
        with contextlib.suppress(BadAddress):
            host, port = parse_address(word)
            assert host and port is not None and 1 <= port <= 65535
