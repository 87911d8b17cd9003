"""What a traffic process is told: frozen values, the JSON argument of `python -m traffic VERB SPEC`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Address
import json
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ENGINE_DSCP",
    "BurstSpec",
    "EniPath",
    "PortBlocks",
    "ResolverSpec",
    "ServerSpec",
    "SynSchedule",
]

ENGINE_DSCP = 23
"""The DSCP that marks the packet engine's frames, so that rings and real sockets can share an address.

0b010111 is in pool 2 (xxxx11), "experimental or local use" (RFC 2474 section 6); NAT leaves it alone. The
rings of the resolver and the server take marked frames only, and their kernels drop marked frames, so each
packet has one owner.
"""

_GOLDEN = (5**0.5 - 1) / 2
_SKEW = 11
"""Environments begin at different rows, so that no Elastic IP of a round robin (1 to 8) gets whole rows to itself:
100 - 11 has no divisor in common with any of those numbers."""

Numbers = TypeVar("Numbers", int, "NDArray[np.int64]")

SynSchedule = Literal["classic", "linear"]


@dataclass(frozen=True, slots=True)
class _Spec:
    """A value with a JSON form: addresses as text, nested specs as objects."""

    def to_json(self) -> str:
        """One line of JSON, with no blanks: it is an argument of a command line."""
        return json.dumps(asdict(self), default=str, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec that `to_json` wrote."""
        return cls(**cls._typed(json.loads(text)))

    @classmethod
    def _typed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        known = {field.name for field in fields(cls)}
        unknown = sorted(raw.keys() - known)
        if unknown:
            raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return {name: IPv4Address(value) if name.endswith("address") else value for name, value in raw.items()}


@dataclass(frozen=True, slots=True)
class ResolverSpec(_Spec):
    """The service VPC's name server: A for `records`, empty AAAA for their names, NXDOMAIN for the rest."""

    interface: str
    address: IPv4Address
    records: dict[str, str]
    """Host name → IPv4 address, as text."""
    ttl_s: int = 60
    port: int = 53


@dataclass(frozen=True, slots=True)
class ServerSpec(_Spec):
    """A remote server: stateless responder for marked frames, web page for real clients, echo over UDP."""

    interface: str
    address: IPv4Address
    port: int
    name: str
    hostname: str


@dataclass(frozen=True, slots=True)
class PortBlocks:
    """How execution environments share the source ports of one ENI (deterministic NAT, RFC 7422).

    There are `blocks` blocks of `per_environment` ports each; environment `e` owns block `e % blocks`. Within one ENI
    the first `ports` connections have distinct source ports, so the ENI's kernel never searches for one.

    A block has one port in each row of `blocks` neighbouring ports; those of consecutive environments fall far apart
    (a multiplicative sequence near the golden ratio). However many are in use, free ports are never far: the NAT
    gateway's kernel, which looks at no more than 128 neighbours of a random port at a time (nf_nat_core.c), finds
    one. With blocks of consecutive ports it gave up on some SYNs at 85 % of the range.
    """

    first_port: int = 536
    ports: int = 65_000
    per_environment: int = 100

    @property
    def blocks(self) -> int:
        """How many environments have ports that no other has."""
        return self.ports // self.per_environment

    @property
    def stride(self) -> int:
        """From an environment's place to the next one's, modulo `blocks`."""
        golden = round(self.blocks * _GOLDEN)
        return next(each for each in range(max(golden, 1), 2 * self.blocks + 1) if gcd(each, self.blocks) == 1)

    def port(self, environment: Numbers, offset: Numbers) -> Numbers:
        """The source port of an environment's `offset`-th connection; numbers, or arrays of them."""
        row = (offset + _SKEW * (environment % self.blocks)) % self.per_environment
        return self.first_port + row * self.blocks + environment * self.stride % self.blocks

    def owner(self, port: Numbers) -> tuple[Numbers, Numbers]:
        """The environment, modulo `blocks`, and the offset that a source port belongs to."""
        row, place = divmod(port - self.first_port, self.blocks)
        environment = place * pow(self.stride, -1, self.blocks) % self.blocks
        turn, inside = divmod(row, self.per_environment)  # a turn other than 0: a port outside of all blocks
        return environment, (inside - _SKEW * environment) % self.per_environment + turn * self.per_environment


@dataclass(frozen=True, slots=True)
class EniPath(_Spec):
    """One way out of the service VPC: an ENI and the execution environments that use it."""

    eni: str
    gateway_mac: str
    """MAC address of the ENI's port in the service VPC: the next hop of everything but DNS."""
    first_address: IPv4Address
    """Address of execution environment 0 behind this ENI."""
    environments: int
    """How many addresses follow, `first_address` included."""


@dataclass(frozen=True, slots=True)
class BurstSpec(_Spec):
    """One burst: who connects where, how many, how patiently.

    Connection `c` (counted from `first_connection`) takes path `c % len(paths)`; there it is number
    `k = c // len(paths)`, made by environment `k // per_environment`, from port `k % per_environment` of its
    block.
    """

    interface: str
    mac: str
    """The fleet's own MAC address: source of every frame."""
    resolver_address: IPv4Address
    resolver_mac: str
    paths: tuple[EniPath, ...]
    hostname: str
    port: int
    connections: int
    first_connection: int = 0
    blocks: PortBlocks = PortBlocks()
    connect_timeout_s: float = 30.0
    syn_schedule: SynSchedule = "classic"
    rate_per_s: float | None = None
    """New invocations per second; None is all at once."""

    @classmethod
    def _typed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        typed = super(BurstSpec, cls)._typed(raw)
        typed["paths"] = tuple(EniPath(**EniPath._typed(path)) for path in raw["paths"])  # noqa: SLF001
        typed["blocks"] = PortBlocks(**raw.get("blocks", {}))
        return typed
