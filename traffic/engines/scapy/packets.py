"""A dissected packet: plain values, of no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Dns", "Endpoint", "Packet"]


class Endpoint(NamedTuple):
    """An address and a port at the interface where the packet was seen."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Dns:
    """A DNS message."""

    identifier: int
    is_answer: bool
    name: str
    address: str | None = None
    """The addresses in an answer; None if there are none."""
    ipv6: bool = False
    """Whether it is about an AAAA record."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet of the engine, or an answer to one."""

    protocol: Literal["tcp", "udp"]
    source: Endpoint
    destination: Endpoint
    identification: int
    """IPv4's (RFC 791 section 3.1); each packet that the engine sends has one of its own."""
    length: int
    flags: str
    """TCP's flags in the usual order, `SYN-ACK`; `DNS` or `UDP`."""
    sequence: int = 0
    acknowledgement: int = 0
    payload_bytes: int = 0
    dns: Dns | None = None
