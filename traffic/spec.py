"""Specs of traffic processes: frozen values, the JSON argument of `python -m traffic VERB SPEC`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from ipaddress import IPv4Address
import json
from math import gcd
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import msgspec

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
    "FleetSpec",
    "Growth",
    "HostPorts",
    "PacketSocket",
    "PortBlocks",
    "Protocol",
    "ResolverSchedule",
    "ResolverSpec",
    "ServerSpec",
    "Spec",
    "SynSchedule",
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
ResolverSchedule = Literal["single", "glibc", "musl", "lambda-python", "node"]
Engine = Literal["packet", "socket", "scapy"]
Protocol = Literal["tcp", "udp"]
Close = Literal["fin", "half-close", "reset"]


@dataclass(frozen=True, slots=True)
class Spec:
    """A value with a JSON form: addresses as text, nested specs as objects."""

    def to_json(self) -> str:
        """One line of JSON without blanks, an argument of a command line; what is None by default is left out."""
        optional = {field.name for field in fields(self) if field.default is None}
        values = msgspec.to_builtins(self, enc_hook=str)
        written = {name: value for name, value in values.items() if value is not None or name not in optional}
        return msgspec.json.encode(written).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec that `to_json` wrote; ValueError for keys that it does not have, which msgspec would ignore."""
        raw, known = json.loads(text), {field.name for field in fields(cls)}
        if unknown := sorted(raw.keys() - known):
            raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return msgspec.convert(raw, cls, dec_hook=lambda kind, value: kind(value))


@dataclass(frozen=True, slots=True)
class ResolverSpec(Spec):
    """The service VPC's name server: A for `records`, empty AAAA for their names, NXDOMAIN for the rest."""

    interface: str
    address: IPv4Address
    records: dict[str, tuple[str, ...]]
    """Host name → IPv4 addresses, as text."""
    ttl_s: int = 60
    port: int = 53
    truncate: bool = False
    """Whether answers over UDP are truncated, so that clients ask again over TCP."""


@dataclass(frozen=True, slots=True)
class ServerSpec(Spec):
    """A remote server: stateless responder for marked frames, web page for real clients, echo over UDP."""

    interface: str
    addresses: tuple[IPv4Address, ...]
    port: int
    name: str
    hostname: str
    certificate: str | None = None
    """File with its key and certificate; without one it speaks no TLS."""
    turned_away: tuple[IPv4Address, ...] | None = None
    """Further addresses, to which connections beyond its limit come: accepted, and closed at once."""


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

    def among_the_first(self, most: int, turns: int, start: int = 0, step: int = 1, begin: int | None = None) -> int:
        """How many of so many turns, `start` and each `step` after it, are among the first `most` of an environment.

        An environment's turns count from `begin` on, which is `start` unless told.
        """
        begin = start if begin is None else begin
        end, boundary = start + turns * step, -(-begin // self.per_environment) * self.per_environment

        def within(first: int, end: int) -> int:
            return -((start - end) // step) + (start - first) // step

        def up_to(end: int) -> int:
            """Those of turn 0 on; which turns of an environment they are is the same again after `step` of them."""
            whole, rest = divmod(end, self.per_environment)
            each = [
                within(first, first + min(most, self.per_environment))
                for first in range(0, min(whole, step) * self.per_environment, self.per_environment)
            ]
            rounds, more = divmod(whole, step)
            last = whole * self.per_environment
            return rounds * sum(each) + sum(each[:more]) + within(last, last + min(rest, most))

        opening = within(begin, min(boundary, begin + most, end))
        return opening + up_to(end) - up_to(boundary) if end > boundary else opening

    def turn(self, port: Numbers, environment: Numbers) -> Numbers:
        """The only turn of an environment that can have this port; outside of the environment's turns if none has."""
        turn = (port - self.first_port) * pow(self.stride, -1, self.ports)
        first = environment * self.per_environment
        return first + (turn - first) % self.ports


@cache
def _stride(ports: int) -> int:
    golden = max(round(ports * _GOLDEN), 1)
    return next(stride for stride in range(golden, golden + ports) if gcd(stride, ports) == 1)


@dataclass(frozen=True, slots=True)
class EniPath(Spec):
    """One path out of the service VPC: an ENI and the execution environments that use it."""

    eni: str
    gateway_mac: str
    """MAC address of the ENI's interface in the service VPC: next hop of everything but queries to a resolver there."""
    first_address: IPv4Address
    """Address of execution environment 0 behind this ENI."""
    environments: int
    """How many addresses follow, `first_address` included."""
    real: IPv4Address | None = None
    """Of a host that is no function: the address of its real sockets; None: the block that follows."""

    @property
    def sockets(self) -> Self:
        """The same path from the block of addresses that follows this one, which is local to the fleet's kernel."""
        return replace(self, first_address=self.real or self.first_address + self.environments)

    @property
    def last_address(self) -> IPv4Address:
        """The last one of both blocks."""
        return self.first_address + (2 * self.environments - 1) if self.real is None else self.first_address

    def has(self, address: IPv4Address) -> bool:
        """Whether an execution environment of this path has the address, in either block."""
        return self.first_address <= address <= self.last_address or address == self.real


@dataclass(frozen=True, slots=True)
class HostPorts:
    """The ephemeral ports that an address of a host has left for connections to one destination."""

    first_turn: int
    """The turn (`PortBlocks`) of the first one."""
    room: int
    """How many follow, the first one included; after the last turn comes turn 0."""
    unseen: int = 0
    """How many are taken of which the host's kernel does not know: by connections of frames, without sockets."""


@dataclass(frozen=True, slots=True)
class FleetSpec(Spec):
    """The execution environments of a function that takes part in a burst.

    Its connection `k` (counted from `first_connection`) takes path `k % len(paths)`; there it has turn
    `k // len(paths)` (see `PortBlocks`).
    """

    interface: str
    mac: str
    """Its own MAC address: source of every frame."""
    paths: tuple[EniPath, ...]
    first_connection: int = 0
    reserved_concurrency: int | None = None
    """How many of its invocations may be under way at the same time; those beyond are throttled. None: no limit."""
    namespace: str | None = None
    """Its network namespace, as a file; None: the one in which the generator runs."""
    host: tuple[HostPorts, ...] | None = None
    """Of a host that is no function: what each path, an address of its own, has of ephemeral ports.

    All paths to the first address of the server's name, then all to the second one …, for to each of them a kernel uses
    a port anew; over UDP it does not, and a row of paths is for all of them. The first connections have the ports; real
    sockets get theirs from the kernel. `first_connection` is 0.
    """


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
    """How many execution environments there may be: `at_once` at the beginning, `per_s` more each second."""

    at_once: float
    per_s: float


@dataclass(frozen=True, slots=True)
class PacketSocket:
    """An AF_PACKET socket that the scapy engine inherits: it shows what passes an interface of a node on the way."""

    descriptor: int
    node: str
    kind: str
    """The node's kind in the lab's plan, for example `hyperplane_eni`."""
    interface: str


@dataclass(frozen=True, slots=True)
class BurstSpec(Spec):
    """One burst: which clients connect to which server, how many, for how long they wait, and what they do then.

    There are `connections` connections, which `invocations` may use one after another. Fleets take turns: connection
    `c` is number `c // len(fleets)` of fleet `c % len(fleets)`, and so are invocations.

    A connection that has turn `t` of its path (see `PortBlocks`) calls number `t % n` of its name's `n` addresses, in
    numeric order. So all pairs of path and address occur.
    """

    fleets: tuple[FleetSpec, ...]
    resolver_address: IPv4Address
    resolver_mac: str | None
    """None: queries take the gateway of the path, as everything else does."""
    hostname: str
    port: int
    connections: int
    invocations: int | None = None
    """None: one for each connection."""
    blocks: PortBlocks = PortBlocks()
    engine: Engine = "packet"
    protocol: Protocol = "tcp"
    connect_timeout_s: float = 30.0
    syn_schedule: SynSchedule = "classic"
    resolver_schedule: ResolverSchedule = "single"
    arrivals: Arrivals = Arrivals()
    growth: Growth | None = None
    """None: as many environments as there are connections for."""
    at_a_time: int | None = None
    """Invocations under way at the same time; None is no limit."""
    hold_s: float | None = None
    """How long a connection is kept after its invocation (with `reuse`, idle); None: until the burst ends."""
    duration_s: float = 0.0
    """How long an invocation keeps its environment busy after its last answer, where connections are reused."""
    requests: int | None = 0
    """Requests on a connection, in one invocation, or one in each where connections are reused; None: no limit."""
    reuse: bool = False
    close: Close = "fin"
    quiet_s: float = 0.0
    """How long nothing may arrive, once every invocation has its outcome, before the result is told: a program accepts
    connections, and turns clients away, some time after its kernel has answered their SYNs."""
    rest_s: float = 2.5
    """How long the port of a connection that has ended rests before another connection has it."""
    authority: str | None = None
    """File with the certificate of the authority that TLS clients trust; None: the clients speak no TLS."""
    destinations: tuple[IPv4Address, ...] | None = None
    """If given, clients send nothing but SYNs to these addresses: no query before and no ACK after."""
    questions_apart: bool = False
    """Whether real sockets send queries from each connection's own address and port, as the other engines do.

    A resolver's quota counts sources, so then it matters; otherwise one socket per process asks, which is faster.
    """
    descriptors: int | None = None
    """How many an execution environment has for its connections at a time; None is no limit."""
    packet_sockets: tuple[PacketSocket, ...] = ()

    @property
    def sources(self) -> tuple[EniPath, ...]:
        """The paths of all fleets, from the addresses where this engine's connections begin.

        Real sockets have a block of addresses that is local to the fleet's kernel.
        """
        paths = tuple(path for fleet in self.fleets for path in fleet.paths)
        return tuple(path.sockets for path in paths) if self.engine == "socket" else paths

    @property
    def offered(self) -> int:
        """How many invocations there are."""
        return self.connections if self.invocations is None else self.invocations

    def share(self, whole: Numbers, fleet: int) -> Numbers:
        """How many of the first so many connections, or invocations, are this fleet's."""
        return (whole - fleet + len(self.fleets) - 1) // len(self.fleets)
