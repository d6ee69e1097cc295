"""The files that say who may join: the network's keys, and lists of peers and addresses.

What is wrong with one is an AccessError, one sentence with the file and the line, and never with what a key file holds.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterator

import attrs

from twisted_p2p.core.access import KEYS_MAX, Access, PeerList, Range, derive_key
from twisted_p2p.errors import AccessError

KEY_BYTES = 16
"""A key is at least so long. What is said in a handshake can be tried against guesses of it, as fast as a machine can:
a random one is safe from that, and a password is not."""
_PEER = re.compile("[0-9a-f]{64}")
_KEY = re.compile(rb"[ -~]+")
_SHOWN = 80
"""Characters of a bad line that are shown."""

Path = str | os.PathLike[str]


@attrs.frozen
class AccessFiles:
    """Where it is said who may join; None: nothing is said.

    Attributes:
        network_key: a key a line, the first of which we prove with. Only its owner may be able to read it.
        allow, deny: a peer's id, an address or a range of addresses a line.
    """

    network_key: Path | None = None
    allow: Path | None = None
    deny: Path | None = None

    def read(self, network: str) -> Access:
        """What they say now. Raises AccessError."""
        secrets = [] if self.network_key is None else read_keys(self.network_key)
        return Access(
            tuple(derive_key(secret, network) for secret in secrets),
            None if self.allow is None else read_list(self.allow),
            PeerList() if self.deny is None else read_list(self.deny),
        )

    def __bool__(self) -> bool:
        return any(path is not None for path in (self.network_key, self.allow, self.deny))


def read_keys(path: Path) -> list[bytes]:
    """The keys in a file, of which there is at least one. Raises AccessError."""
    keys: list[bytes] = []
    for number, line in _lines(path, is_secret=True):
        if not _KEY.fullmatch(line):
            raise AccessError(f"{_place(path, number)}: a key has printable ASCII characters only.")
        if len(line) < KEY_BYTES:
            raise AccessError(
                f"{_place(path, number)}: a key has at least {KEY_BYTES} characters; make one by: openssl rand -hex 32"
            )
        keys.append(line)
    if not keys:
        raise AccessError(f"The network key file {path} has no key in it; make one by: openssl rand -hex 32")
    if len(keys) > KEYS_MAX:
        raise AccessError(f"The network key file {path} has {len(keys)} keys; it may have {KEYS_MAX}: drop the oldest.")
    return keys


def read_list(path: Path) -> PeerList:
    """The peers, addresses and ranges in a file. Raises AccessError."""
    peers: list[str] = []
    ranges: list[Range] = []
    for number, line in _lines(path):
        text = line.partition(b"#")[0].strip().decode("utf-8", "replace")
        if _PEER.fullmatch(text.lower()):
            peers.append(text.lower())
            continue
        try:
            ranges.append(_range(text))
        except ValueError:
            shown = ascii(text[:_SHOWN])
            raise AccessError(
                f"{_place(path, number)}: {shown} is no peer's id (64 hex digits), no IP address, and no range of them "
                "(like 192.0.2.0/24, without bits below its prefix)."
            ) from None
    return PeerList.of(peers, ranges)


def _range(text: str) -> Range:
    """An address is the range of itself, and an IPv4 one in IPv6's spelling is that IPv4 one."""
    found = ipaddress.ip_network(text)
    if isinstance(found, ipaddress.IPv6Network):
        mapped, bits = found.network_address.ipv4_mapped, found.prefixlen - 96
        if mapped is not None and bits >= 0:
            return ipaddress.IPv4Network((mapped, bits))
    return found


def _place(path: Path, number: int) -> str:
    return f"{os.fspath(path)}, line {number}"


def _lines(path: Path, is_secret: bool = False) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, without the empty ones and those that begin with #."""
    try:
        with open(path, "rb") as file:
            if is_secret and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise AccessError(
                    f"Others can read the network key file {path}: make it yours alone, by: chmod 600 '{path}'"
                )
            data = file.read()
    except OSError as error:
        raise AccessError(f"The file {path} can't be read: {error.strerror}.") from error
    for number, line in enumerate(data.split(b"\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            yield number, stripped
