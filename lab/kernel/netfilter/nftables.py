"""Readings of nftables: counters, how full a set is, the age of a set's element.

`nft list` is a process per reading and lists all 65,000 elements to say how many there are; these messages take some
0.1 ms (linux/netfilter/nf_tables.h). The functions are called inside a namespace (`NamespaceThread.run`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
import struct
from typing import NamedTuple

from lab.kernel.netfilter.messages import Subsystem, ask, attribute, attributes, fields_of, nested, string, text_of

__all__ = [
    "FAMILIES",
    "IP",
    "NETDEV",
    "Counter",
    "Element",
    "counters",
    "element",
    "elements",
    "rules",
    "set_limit",
    "set_names",
    "set_size",
    "set_sizes",
    "tables",
]

IP, NETDEV = 2, 5
"""Families of tables: IPv4's, and those that belong to a network interface (NFPROTO_*, linux/netfilter.h)."""
FAMILIES = {"ip": IP, "netdev": NETDEV}
"""By the word that stands for it in nft's grammar."""

_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _GETSETELEM, _GETOBJ = 1, 4, 7, 10, 13, 19
_TABLE, _NAME = 1, 2
_CHAIN_NAME, _RULE_CHAIN = 3, 2
_OBJ_TYPE, _OBJ_DATA, _OBJECT_COUNTER = 3, 4, 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_SET_DESCRIPTION, _SET_SIZE = 9, 1
_SET_COUNT = 20  # NFTA_SET_COUNT, since Linux 6.16
_ANONYMOUS = "__"
"""How the kernel names the sets and maps that stand inside rules (`__set%d`, `__map%d`)."""
_ELEMENTS, _ELEM_KEY, _ELEM_EXPIRATION, _DATA_VALUE = 3, 1, 5, 1

_ask = partial(ask, Subsystem.TABLES)


class Counter(NamedTuple):
    """Packets and bytes that a named counter has counted."""

    packets: int
    bytes: int


class Element(NamedTuple):
    """A set element: its key as the kernel packs it (fields padded to four bytes), and what is left of its timeout."""

    key: bytes
    expires_ms: int


def counters(table: str, family: int = IP) -> dict[str, Counter]:
    """All named counters of a table, an `ip` table unless told; none if there is no such table."""
    wanted = string(_TABLE, table) + attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    return dict(_counter(message) for message in _ask(_GETOBJ, wanted, dump=True, family=family))


def _counter(message: memoryview) -> tuple[str, Counter]:
    fields = fields_of(message)
    data = fields_of(fields[_OBJ_DATA])
    packets, octets = (int.from_bytes(data[key], "big") for key in (_COUNTER_PACKETS, _COUNTER_BYTES))
    return text_of(fields[_NAME]), Counter(packets, octets)


def _set(table: str, name: str) -> bytes:
    return string(_TABLE, table) + string(_NAME, name)


def set_size(table: str, name: str, family: int = IP) -> int:
    """How many elements a set of an `ip` table holds; on kernels that do not say, they are counted one by one."""
    for message in _ask(_GETSET, _set(table, name), dump=False, family=family):
        count = fields_of(message).get(_SET_COUNT)
        if count is not None:
            return int.from_bytes(count, "big")
    return sum(1 for _ in elements(table, name))


def set_sizes(table: str) -> dict[str, int]:
    """How many elements each named set of an `ip` table holds; none if there is no such table."""
    sizes = {}
    for name, fields in _named_sets(table, IP):
        count = fields.get(_SET_COUNT)
        sizes[name] = set_size(table, name) if count is None else int.from_bytes(count, "big")
    return sizes


def tables(family: int = IP) -> frozenset[str]:
    """The names of all tables of a family."""
    return frozenset(text_of(fields_of(each)[_TABLE]) for each in _ask(_GETTABLE, b"", dump=True, family=family))


def rules(table: str, family: int = IP) -> dict[str, int]:
    """Chain of a table → how many rules it has."""
    chains = (fields_of(each) for each in _ask(_GETCHAIN, string(_TABLE, table), dump=True, family=family))
    count = {text_of(fields[_CHAIN_NAME]): 0 for fields in chains if text_of(fields[_TABLE]) == table}
    for message in _ask(_GETRULE, string(_TABLE, table), dump=True, family=family):
        if (chain := text_of(fields_of(message)[_RULE_CHAIN])) in count:  # or it was added meanwhile
            count[chain] += 1
    return count


def set_names(table: str, family: int = IP) -> frozenset[str]:
    """The named sets of a table."""
    return frozenset(name for name, _ in _named_sets(table, family))


def _named_sets(table: str, family: int) -> Iterator[tuple[str, dict[int, memoryview]]]:
    for message in _ask(_GETSET, string(_TABLE, table), dump=True, family=family):
        fields = fields_of(message)
        name = text_of(fields[_NAME])
        if not name.startswith(_ANONYMOUS):
            yield name, fields


def set_limit(table: str, name: str, family: int = IP) -> int:
    """How many elements a set of an `ip` table has room for; 0 is no limit."""
    for message in _ask(_GETSET, _set(table, name), dump=False, family=family):
        description = fields_of(message).get(_SET_DESCRIPTION)
        size = fields_of(description).get(_SET_SIZE) if description is not None else None
        if size is not None:
            return int.from_bytes(size, "big")
    return 0


def elements(table: str, name: str) -> Iterator[Element]:
    """The elements of a set with timeouts, in no particular order."""
    for message in _ask(_GETSETELEM, _set(table, name), dump=True, family=IP):
        for kind, payload in attributes(message):
            if kind == _ELEMENTS:
                yield from (_element(element) for _, element in attributes(payload))


def element(table: str, name: str, key: bytes) -> Element | None:
    """The element of a set with this key, however many there are; None if it is not in the set, or has expired."""
    wanted = nested(_ELEMENTS, nested(1, nested(_ELEM_KEY, attribute(_DATA_VALUE, key))))
    try:
        answer = list(_ask(_GETSETELEM, _set(table, name) + wanted, dump=False, family=IP))
    except FileNotFoundError:
        return None
    listed = fields_of(answer[0])[_ELEMENTS]
    return next(_element(payload) for _, payload in attributes(listed))


def _element(payload: memoryview) -> Element:
    fields = fields_of(payload)
    key = fields_of(fields[_ELEM_KEY])[_DATA_VALUE]
    return Element(bytes(key), int.from_bytes(fields.get(_ELEM_EXPIRATION, b""), "big"))
