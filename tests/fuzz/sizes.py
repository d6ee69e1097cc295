"""The memory that a decoded value takes, and tables found in objects."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

_TABLES = (dict, list, set, frozenset, deque, tuple)
_RAW = 64
_PLAIN = frozenset([str, bytes, int, float, bool, type(None)])


def memory(value: Any) -> int:
    """Bytes that a value of JSON's kinds or of msgspec's takes, all that is in it included."""
    total, rest = 0, [value]
    while rest:
        item = rest.pop()
        if isinstance(item, msgspec.Raw):
            # Of these, getsizeof knows nothing.
            total += _RAW + len(bytes(item))
            continue
        total += sys.getsizeof(item)
        if isinstance(item, dict):
            rest += item.keys()
            rest += item.values()
        elif isinstance(item, (list, tuple)):
            rest += item
        elif isinstance(item, msgspec.Struct):
            rest += (getattr(item, field) for field in item.__struct_fields__)
    return total


def tables(root: Any, package: str) -> Iterator[tuple[str, int]]:
    """All tables that hang on an object, as Class.attribute, each with its length.

    Args:
        package: only objects of its classes are looked into.
    """
    seen, rest = {id(root)}, [root]
    while rest:
        item = rest.pop()
        kind = type(item)
        for name in _attributes(item):
            value = getattr(item, name, None)
            label = f"{kind.__name__}.{name}"
            for found in _within(value, label):
                if isinstance(found, tuple):
                    yield found
                elif id(found) not in seen and type(found).__module__.startswith(package):
                    seen.add(id(found))
                    rest.append(found)


def _attributes(item: Any) -> list[str]:
    fields = _fields(type(item))
    return fields or ([*vars(item)] if hasattr(item, "__dict__") else [])


@functools.cache
def _fields(kind: type) -> list[str]:
    return [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []


def _within(value: Any, label: str) -> Iterator[Any]:
    """(name, length) of a table and of those in it, and the objects in it."""
    if not isinstance(value, _TABLES):
        yield value
        return
    if not isinstance(value, tuple):
        yield label, len(value)
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) not in _PLAIN:
            yield from _within(item, f"{label}[]")
