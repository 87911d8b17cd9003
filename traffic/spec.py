"""What a traffic process is told: frozen values, the JSON argument of `python -m traffic VERB SPEC`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from ipaddress import IPv4Address
import json
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ENGINE_DSCP",
    "Arrivals",
    "BurstSpec",
    "Close",
    "Engine",
    "EniPath",
    "Growth",
    "PortBlocks",
    "Protocol",
    "ResolverSpec",
    "ServerSpec",
    "SynSchedule",
    "Tap",
]

ENGINE_DSCP = 23
"""The DSCP that marks the packet engine's frames, so that rings and real sockets can share an address.

0b010111 is in pool 2 (xxxx11), "experimental or local use" (RFC 2474 section 6); NAT leaves it alone. The
rings of the resolver and the server take marked frames only, and their kernels drop marked frames, so each
packet has one owner.
"""

_GOLDEN = (5**0.5 - 1) / 2

Numbers = TypeVar("Numbers", int, "NDArray[np.int64]")

SynSchedule = Literal["classic", "linear"]
Engine = Literal["packet", "socket", "scapy"]
Protocol = Literal["tcp", "udp"]
Close = Literal["fin", "half-close", "reset"]


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

    The connections of an ENI take turns: turn `t` belongs to environment `t // per_environment` and has a port that
    any `ports` turns in a row have to themselves, so the ENI's kernel never searches for one.

    Ports follow one another at a stride near the golden section of the range, so neighbouring turns fall far apart.
    However many are in use, free ports are never far: the NAT gateway's kernel, which looks at no more than 128
    neighbours of a random port at a time (nf_nat_core.c), finds one. With blocks of consecutive ports it gave up on
    some SYNs at 85 % of the range.
    """

    first_port: int = 536
    ports: int = 65_000
    per_environment: int = 100

    @property
    def stride(self) -> int:
        """From one turn's port to the next one's, modulo `ports`."""
        return _stride(self.ports)

    def port(self, turn: Numbers) -> Numbers:
        """The source port of a turn; numbers, or arrays of them."""
        return self.first_port + turn * self.stride % self.ports

    def turn(self, port: Numbers, environment: Numbers) -> Numbers:
        """The only turn of an environment that may have this port; a port out of range, or of others: none of its."""
        turn = (port - self.first_port) * pow(self.stride, -1, self.ports)
        first = environment * self.per_environment
        return first + (turn - first) % self.ports


@cache
def _stride(ports: int) -> int:
    golden = max(round(ports * _GOLDEN), 1)
    return next(each for each in range(golden, golden + ports) if gcd(each, ports) == 1)


@dataclass(frozen=True, slots=True)
class EniPath(_Spec):
    """One way out of the service VPC: an ENI and the execution environments that use it."""

    eni: str
    gateway_mac: str
    """MAC address of the ENI's port in the service VPC: the next hop of all but questions to a resolver in there."""
    first_address: IPv4Address
    """Address of execution environment 0 behind this ENI."""
    environments: int
    """How many addresses follow, `first_address` included."""

    @property
    def sockets(self) -> Self:
        """The same way, from the block of addresses that follows this one: local to the fleet's kernel."""
        return replace(self, first_address=self.first_address + self.environments)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When invocations come: all at once unless there is a rate.

    The rate goes from `per_s` to `to_per_s` in `ramp_s` seconds and stays there; without a ramp it is `per_s`.
    """

    per_s: float | None = None
    to_per_s: float | None = None
    ramp_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """How many execution environments there may be: so many at once, then so many more each second."""

    at_once: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Tap:
    """A place on the way where the scapy engine sees packets: an AF_PACKET socket that it inherits."""

    descriptor: int
    node: str
    kind: str
    """What the node is, `hyperplane_eni` for one."""
    interface: str


@dataclass(frozen=True, slots=True)
class BurstSpec(_Spec):
    """One burst: who connects where, how many, how patiently, and what for.

    There are `connections` connections, which `invocations` may use one after another. Connection `c` (counted from
    `first_connection`) takes path `c % len(paths)`; there it has turn `c // len(paths)` (see `PortBlocks`).
    """

    interface: str
    mac: str
    """The fleet's own MAC address: source of every frame."""
    resolver_address: IPv4Address
    resolver_mac: str | None
    """None: questions go by the gateway of the path, as everything else does."""
    paths: tuple[EniPath, ...]
    hostname: str
    port: int
    connections: int
    first_connection: int = 0
    invocations: int | None = None
    """None: as many as there are connections."""
    blocks: PortBlocks = PortBlocks()
    engine: Engine = "packet"
    protocol: Protocol = "tcp"
    connect_timeout_s: float = 30.0
    syn_schedule: SynSchedule = "classic"
    arrivals: Arrivals = Arrivals()
    growth: Growth | None = None
    """None: as many environments as there are connections for."""
    at_a_time: int | None = None
    """Invocations under way at the same time; None is no limit."""
    hold_s: float | None = None
    """How long a connection is kept after its invocation (with `reuse`, idle); None is to the end."""
    duration_s: float = 0.0
    """How long an invocation keeps its environment busy after its last answer, where connections are reused."""
    requests: int | None = 0
    """Requests on a connection, in one invocation, or one in each where connections are reused; None: no limit."""
    reuse: bool = False
    close: Close = "fin"
    rest_s: float = 2.5
    """How long the port of a connection that has ended rests before another connection has it."""
    destination: IPv4Address | None = None
    """Given: nothing but SYNs to this address, without a question before and an ACK after."""
    questions_apart: bool = False
    """Whether real sockets ask from each connection's own address and port, as the other engines do.

    It matters where somebody counts sources; else one socket asks for all of a process, which is faster.
    """
    taps: tuple[Tap, ...] = field(default=())

    @property
    def sources(self) -> tuple[EniPath, ...]:
        """The paths, from the addresses where this engine's connections begin.

        Real sockets have a block of addresses that is local to the fleet's kernel.
        """
        return tuple(path.sockets for path in self.paths) if self.engine == "socket" else self.paths

    @property
    def offered(self) -> int:
        """How many invocations there are."""
        return self.connections if self.invocations is None else self.invocations

    @classmethod
    def _typed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        typed = super(BurstSpec, cls)._typed(raw)
        typed["paths"] = tuple(EniPath(**EniPath._typed(path)) for path in raw["paths"])  # noqa: SLF001
        typed["taps"] = tuple(Tap(**tap) for tap in raw.get("taps", ()))
        typed["blocks"] = PortBlocks(**raw.get("blocks", {}))
        typed["arrivals"] = Arrivals(**raw.get("arrivals", {}))
        typed["growth"] = Growth(**raw["growth"]) if raw.get("growth") else None
        typed["destination"] = IPv4Address(raw["destination"]) if raw.get("destination") else None
        return typed
