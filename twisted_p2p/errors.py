"""What can go wrong for a caller. Each docstring is the sentence that a user reads."""

from __future__ import annotations


class P2PError(Exception):
    """Something went wrong in the peer-to-peer network."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class BadAddress(P2PError, ValueError):
    """An address is written HOST:PORT, with a port from 1 to 65535; IPv6 hosts go in brackets: [::1]:5050."""


class BadNetworkName(P2PError, ValueError):
    """A network's name has 1 to 64 printable ASCII characters, and no spaces."""


class CannotListen(P2PError):
    """The port could not be opened; choose another one with --port, or stop the program that has it."""


class JoinError(P2PError):
    """The network could not be joined in time; is the genesis node running at that address?"""


class LogError(P2PError):
    """The log can't be read or written; see to the disk that its data directory is on."""


class DataDirError(P2PError):
    """The data directory can't be used; give another one, or see to this one."""


class AccessError(P2PError, ValueError):
    """Who may join can't be read from a file; see to the file."""


class MessageTooBig(P2PError, ValueError):
    """The message is too big to broadcast."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The message takes {size} bytes as JSON; the limit is {limit}. Send it in smaller parts.")
        self.size = size
        self.limit = limit


class NotJSON(P2PError, TypeError):
    """Only what JSON can express may be broadcast: text, finite numbers, booleans, None, lists and dicts of them."""


class NotRunning(P2PError, RuntimeError):
    """This peer is not running; call start() first."""


class WrongThread(P2PError, RuntimeError):
    """A blocking call was made in the network's own thread, where it would wait for itself for ever."""
