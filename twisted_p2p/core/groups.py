"""Address groups: the ranges that one party can easily have whole, so that what comes from one counts as one."""

from __future__ import annotations

import ipaddress

NEAR = (24, 64)
"""Bits of an IPv4 and of an IPv6 address that make the smallest range which is given to one party."""
WIDE = (16, 32)
"""The same for a range that is usually routed as one. Bitcoin Core's groups (netgroup.cpp)."""


def group_of(host: str, bits: tuple[int, int] = NEAR) -> str:
    """The group of a host, as text. Names, which say nothing about where a host is, are groups of their own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = bits[address.version == 6]
    return str(ipaddress.ip_network((address, prefix), strict=False))


def is_this_machine(host: str) -> bool:
    """Whether only programs on this machine can have this address, which then says nothing about who it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
