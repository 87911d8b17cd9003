"""What a NAT node counts, and under which names: the plan writes them into rules, observation reads them back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
import json

__all__ = [
    "ACTIVE",
    "ADMITTED",
    "ADMITTED_LATE",
    "CLOSED",
    "CLOSED_BY_CLIENT",
    "CLOSED_BY_SERVER",
    "CONNTRACK_DROPS",
    "ESTABLISHED",
    "FIRST_REFUSED",
    "FIRST_RESET",
    "FORGOTTEN",
    "INVALID_PACKETS",
    "OTHER_PACKETS",
    "PORTS_NOT_FOUND",
    "REFUSED",
    "REFUSED_CONNECTIONS",
    "REFUSED_GROUP",
    "REFUSED_PACKETS",
    "RESET",
    "RESETS_SENT",
    "RESET_BY_CLIENT",
    "RESET_BY_SERVER",
    "RESET_HERE",
    "SLOT_MASK",
    "WITHOUT_SLOT",
    "NatNode",
    "nodes_from_json",
    "nodes_to_json",
]

ADMITTED = "connections_admitted"
"""TCP connections that were given a slot."""
ADMITTED_LATE = "connections_admitted_late"
"""TCP connections that were given a slot after an earlier SYN of theirs had been refused."""
ESTABLISHED = "connections_established"
"""TCP connections whose handshake was completed: they became active."""
CLOSED = "connections_closed"
"""Active TCP connections that ended by two FINs or an RST."""
CLOSED_BY_CLIENT = "closed_by_client"
"""Of them: those that a FIN ended first, from the clients' side. Together with the next three it is how every active
connection ends that is not forgotten."""
CLOSED_BY_SERVER = "closed_by_server"
"""Those that a FIN ended first, from the servers' side."""
RESET_BY_CLIENT = "reset_by_client"
"""Those that a RST ended, from the clients' side."""
RESET_BY_SERVER = "reset_by_server"
"""Those that a RST ended, from the servers' side: the server's, or that of a NAT node further on."""
RESET_HERE = "reset_here"
"""Connections without an entry whose client sent a packet, and got an RST from this node; each counts once a second."""
FORGOTTEN = "connections_forgotten"
"""Active TCP connections that `lab reset` has removed; no rule counts them, and the first reset makes the counter."""
RESETS_SENT = "resets_sent"
"""Packets in the middle of a connection that is forgotten, each answered with an RST."""
INVALID_PACKETS = "invalid_packets"
"""Invalid packets that are dropped and not answered."""
OTHER_PACKETS = "other_packets"
"""Packets that the node does not forward: not TCP or UDP, not asked for, or of an Elastic IP that is gone."""
REFUSED_PACKETS = "refused_packets_"
"""With the name of a slot set: packets that found no slot."""
REFUSED_CONNECTIONS = "refused_connections_"
"""With the name of a slot set: connections that found no slot, each counted once."""

PORTS_NOT_FOUND = "ports_not_found"
"""Packets of new connections that were admitted, and for which the kernel found no free port then.

No rule counts them: after some 248 tries the kernel goes on with a port that is taken (nf_nat_core.c), and drops the
packet where the connection would be confirmed (nf_conntrack_core.c, `insert_failed`).
"""
CONNTRACK_DROPS = "conntrack_drops"
"""Packets that the kernel's connection tracking dropped by itself, those without a free port among them."""

REFUSED = "refused"
"""The set of refused tuples, by which retransmissions are told from connections."""
FIRST_REFUSED = "first_refused"
"""A set of one element: the first tuple that was refused, and since when."""
RESET = "just_reset"
"""The set of tuples that have just been counted as reset here."""
FIRST_RESET = "first_reset"
"""A set of one element: the first tuple that was reset here, and since when."""

REFUSED_GROUP = 1
"""The NFLOG group that gets a copy of every refused packet while a socket listens: `tcpdump -i nflog:1` in the node."""

SLOT_MASK = 0xFFFF
"""The bits of a connection mark that name the slot set in which the connection holds a slot."""
WITHOUT_SLOT = 0xF000
"""These of its bits are all set where no slot set has the connection: a NAT gateway's to an undeclared destination."""
ACTIVE = 0x100000
"""The bit of a connection mark that says: the handshake is complete, and the connection is not closed."""


@dataclass(frozen=True, slots=True)
class NatNode:
    """A node that translates and tracks connections, and where the kernel counts what passes it."""

    node: str
    kind: str
    namespace: str
    table: str
    inner: str
    """The interface towards the clients."""
    outer: str
    """The interface towards the servers."""
    idle_timeout_s: int


def nodes_to_json(nodes: Iterable[NatNode]) -> str:
    """NAT nodes as an argument of a command line."""
    return json.dumps([astuple(node) for node in nodes])


def nodes_from_json(text: str) -> tuple[NatNode, ...]:
    """The nodes that `nodes_to_json` wrote."""
    return tuple(NatNode(*fields) for fields in json.loads(text))
