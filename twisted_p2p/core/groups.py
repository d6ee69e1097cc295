"""Address groups: the ranges that one party can easily have whole, so that what comes from one counts as one."""

from __future__ import annotations

import ipaddress

NEAR = (24, 64)
"""Bits of an IPv4 and of an IPv6 address that make the smallest range which is given to one party."""
WIDE = (16, 32)
"""The same for a range that is usually routed as one. Bitcoin Core's groups (netgroup.cpp)."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_in(host: str) -> Address | None:
    """The address that this is, an IPv4 one in IPv6's spelling as such; None: it is a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def group_of(host: str, bits: tuple[int, int] = NEAR) -> str:
    """The group of a host, as text. Names, which say nothing about where a host is, are groups of their own."""
    address = address_in(host)
    if address is None:
        return host
    return str(ipaddress.ip_network((address, bits[address.version == 6]), strict=False))


def is_address(host: str) -> bool:
    """Whether this is an address and no name."""
    return address_in(host) is not None


def is_this_machine(host: str) -> bool:
    """Whether only programs on this machine can have this address, which then says nothing about who it is."""
    address = address_in(host)
    return host == "" if address is None else address.is_loopback


def is_public(host: str) -> bool:
    """Whether this is an address in the Internet. Of a name it is not known."""
    address = address_in(host)
    return address is not None and address.is_global


def is_nobodys(host: str) -> bool:
    """Whether no single host can have this address: 0.0.0.0 and ::, multicast, broadcast, and what is reserved."""
    address = address_in(host)
    if address is None:
        return False
    is_reserved = address.version == 4 and address.is_reserved
    return address.is_unspecified or address.is_multicast or is_reserved
