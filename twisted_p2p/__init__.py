"""A peer-to-peer network on Twisted: a broadcast reaches every peer, exactly once, in its sender's order.

`Network` is for plain blocking programs, `Node` for Twisted ones; `twistd -n p2p` runs a peer without any code.
"""

from __future__ import annotations

from twisted_p2p.blocking import Network
from twisted_p2p.core.actions import Banned, Changed, Fork, Gap, Kind, Reason
from twisted_p2p.core.config import LAN, TEST, WAN, Config
from twisted_p2p.core.wire import History
from twisted_p2p.errors import (
    AccessError,
    BadAddress,
    BadNetworkName,
    CannotListen,
    DataDirError,
    JoinError,
    LogError,
    MessageTooBig,
    NotJSON,
    NotRunning,
    P2PError,
    WrongThread,
)
from twisted_p2p.messages import Message
from twisted_p2p.node import Node
from twisted_p2p.reader import MessageReader

__all__ = [
    "LAN",
    "TEST",
    "WAN",
    "AccessError",
    "BadAddress",
    "BadNetworkName",
    "Banned",
    "CannotListen",
    "Changed",
    "Config",
    "DataDirError",
    "Fork",
    "Gap",
    "History",
    "JoinError",
    "Kind",
    "LogError",
    "Message",
    "MessageReader",
    "MessageTooBig",
    "Network",
    "Node",
    "NotJSON",
    "NotRunning",
    "P2PError",
    "Reason",
    "WrongThread",
]
