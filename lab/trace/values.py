"""A connection's trace: what each node on its way has of it, where it ended, and one sentence of conclusion. Values."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Literal

from lab.errors import UsageError
from lab.kernel.netfilter.conntrack import Endpoint, Entry, Flow

__all__ = ["Hop", "Outcome", "Trace", "end_of"]

Outcome = Literal["established", "half_open", "closing", "refused", "stopped", "silent", "forgotten", "never_seen"]

_PORTS = range(1, 65_536)
_PROTOCOLS = {6: "tcp", 17: "udp"}


def end_of(text: str) -> Endpoint:
    """`100.65.0.0:536` as an address and a port; UsageError says how it is written."""
    address, colon, port = text.rpartition(":")
    how = f"--connection {text}: an IPv4 address and a port, such as 100.65.0.0:536"
    if not colon:
        raise UsageError(f"{how}; the port is missing")
    try:
        ip = IPv4Address(address)
    except AddressValueError:
        raise UsageError(f"{how}; {address!r} is no IPv4 address") from None
    if not (port.isascii() and port.isdecimal()) or len(port) > len("65535") or int(port) not in _PORTS:
        raise UsageError(f"{how}; a port is 1 to 65535, not {port!r}")
    return Endpoint(ip, int(port))


@dataclass(frozen=True, slots=True)
class Hop:
    """A node on the way, and what it knows of the connection."""

    node: str
    kind: str
    text: str
    """The hop as one line of text."""
    entry: Entry | None = None
    slot: str | None = None
    """The slot set in which the entry has its slot."""
    leaves_as: Endpoint | None = None
    """Its source from here on, where it is translated."""
    refused_ago_s: float | None = None
    socket: str | None = None
    """The state of its TCP socket here."""

    def to_json(self) -> dict[str, Any]:
        """Its part of the document."""
        return {
            "node": self.node,
            "kind": self.kind,
            "text": self.text,
            "conntrack": None if self.entry is None else _entry(self.entry),
            "slot": self.slot,
            "leaves_as": None if self.leaves_as is None else str(self.leaves_as),
            "refused_ago_s": self.refused_ago_s,
            "socket": self.socket,
        }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "original": _flow(entry.original),
        "reply": _flow(entry.reply),
        "state": entry.state,
        "timeout_s": entry.timeout_s,
        "mark": entry.mark,
    }


def _flow(flow: Flow) -> dict[str, str]:
    return {"source": str(flow.source), "destination": str(flow.destination)}


@dataclass(frozen=True, slots=True)
class Trace:
    """One connection, from its function to its server."""

    protocol: int
    source: Endpoint | None
    """At the function; None where no node remembers it."""
    destination: Endpoint | None
    function: str | None
    server: str | None
    hops: tuple[Hop, ...]
    outcome: Outcome
    died_at: str | None
    """The node that ended it, if one did."""
    conclusion: str
    """The conclusion, one sentence."""
    client: str | None = None
    """The client that is no function and opened it, if one did."""

    def to_json(self) -> dict[str, Any]:
        """Its part of the document."""
        return {
            "protocol": _PROTOCOLS[self.protocol],
            "source": None if self.source is None else str(self.source),
            "destination": None if self.destination is None else str(self.destination),
            "function": self.function,
            "client": self.client,
            "server": self.server,
            "outcome": self.outcome,
            "died_at": self.died_at,
            "conclusion": self.conclusion,
            "hops": [hop.to_json() for hop in self.hops],
        }
