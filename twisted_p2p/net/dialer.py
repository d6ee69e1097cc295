"""Connecting: addresses or names, with a time-out, and not too many at once. Whom and when, the core decides."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure

from twisted_p2p.core.actions import Dial, Reason

AT_ONCE = 64
"""Connections being made at the same time; further dials wait for their turn."""
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""Of this process or machine, and not of whoever was dialled."""


class Dialer:
    """Makes the connections that the core asks for.

    Args:
        build: the factory for a dial.
        failed: called with the dial that could not be made, and why.
    """

    def __init__(self, reactor: Any, build: Callable[[int], Any], failed: Callable[[int, Reason], None]) -> None:
        self._reactor, self._build, self._failed = reactor, build, failed
        self._waiting: deque[Dial] = deque()
        self._connecting: dict[int, Deferred[Any]] = {}
        self._stopped = False

    def dial(self, action: Dial) -> None:
        """Connect, now or when it is its turn."""
        self._waiting.append(action)
        self._next()

    def stop(self) -> None:
        """Give up everything that has not come about."""
        self._stopped = True
        self._waiting.clear()
        for attempt in list(self._connecting.values()):
            attempt.cancel()

    def _next(self) -> None:
        while self._waiting and len(self._connecting) < AT_ONCE and not self._stopped:
            self._connect(self._waiting.popleft())

    def _connect(self, action: Dial) -> None:
        number = action.dial
        attempt = self._endpoint(action).connect(self._build(number))
        self._connecting[number] = attempt

        def over(result: object) -> None:
            self._connecting.pop(number, None)
            if isinstance(result, Failure) and not self._stopped:
                self._failed(number, _reason(result))
            self._next()

        attempt.addBoth(over)

    def _endpoint(self, action: Dial) -> IStreamClientEndpoint:
        """Literal addresses need no resolver; names try IPv6 and IPv4 (RFC 8305)."""
        host, port, timeout = action.host, action.port, action.timeout
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, timeout=timeout)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, timeout=timeout)
        return HostnameEndpoint(self._reactor, host, port, timeout=timeout)


def _reason(failure: Failure) -> Reason:
    number = getattr(failure.value, "osError", None)
    return Reason.NO_RESOURCES if number in _OURS else Reason.UNREACHABLE
