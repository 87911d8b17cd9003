"""Both accounts of a burst for tests: what clients saw, and what the kernel counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from lab.burst.accounts import assemble
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.burst.result import BurstResult
from lab.capacity.predict import Prediction
from lab.impair.faults import Impairment
from lab.nodes.build import build
from lab.nodes.resolver.model import Resolver
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.tracking import Tracking
from lab.schema.drops import DropCount
from lab.slots.limiter import Limiter
from tests.support.topologies import shipped
from traffic.result import (
    DnsCount,
    EngineResult,
    InvocationCount,
    Latency,
    Percentiles,
    RequestCount,
    RingCount,
    Sample,
    TcpCount,
    Timing,
    TlsCount,
)

__all__ = ["ENI_A", "ENI_B", "burst_result", "eips", "limiter", "reading", "seen", "with_tcp", "with_tls"]

TWO_SUBNETS = build(shipped("two_subnets"))
ENI_A, ENI_B = (each for each in TWO_SUBNETS.limiters if each.kind == "hyperplane_eni")


def limiter(node: str, elastic_ip: int = 1, limit: int = 55_000) -> Limiter:
    """One Elastic IP of a NAT gateway, for TCP to `cache`."""
    return Limiter(
        node=node,
        kind="nat_gateway",
        namespace=f"lab-t-{node}",
        table="nat_gateway",
        slots=f"eip{elastic_ip}_cache_tcp",
        limit=limit,
        refused_packets=f"refused_packets_eip{elastic_ip}_cache_tcp",
        refused_connections=f"refused_connections_eip{elastic_ip}_cache_tcp",
        first_refused="first_refused",
        refused="refused",
        protocol="tcp",
        eip=f"198.51.100.{elastic_ip}",
        destination="cache",
    )


def eips(count: int, node: str = "natgw", limit: int = 55_000) -> tuple[Limiter, ...]:
    """All Elastic IPs of a NAT gateway."""
    return tuple(limiter(node, index + 1, limit) for index in range(count))


def reading(
    of: Limiter, in_use: int = 0, packets: int = 0, connections: int = 0, first: tuple[float, str, int] | None = None
) -> Reading:
    """What the kernel says of a limiter; `first` is the age, address and port of what it refused first."""
    refusal = FirstRefusal(first[0], IPv4Address(first[1]), first[2]) if first else None
    return Reading(of, in_use, packets, connections, refusal)


def seen(
    established: int, timed_out: int = 0, *, retransmissions: int = 0, refused: int = 0, failed: int = 0, lost: int = 0
) -> EngineResult:
    """What the clients of a burst saw; `failed` is DNS, `lost` is what the generator's ring had no room for."""
    attempted = established + timed_out + refused
    offered = attempted + failed
    return EngineResult(
        offered=offered,
        invocations=InvocationCount(offered, established, offered - established, 0),
        dns=DnsCount(asked=offered, answered=attempted, failed=failed),
        tcp=TcpCount(attempted, established, timed_out, refused, 0, retransmissions, (established,), 0, established),
        requests=RequestCount(0, 0),
        drop_threshold=established if timed_out else None,
        latency=Latency(None, Percentiles(established, 0.3, 0.8, 2.0, 4.0, 5.0), None),
        timing=Timing(1.0, 3.0, 50_000.0, 60_000.0, (60_000.0,) * 10),
        series=(Sample(0.5, attempted, established, 0), Sample(3.0, attempted, established, timed_out)),
        ring=RingCount(received=10, dropped=lost),
    )


def with_tcp(clients: EngineResult, **counts: Any) -> EngineResult:
    """The same, with other counts of connections."""
    return replace(clients, tcp=replace(clients.tcp, **counts))


def with_tls(clients: EngineResult, failures: Mapping[str, int]) -> EngineResult:
    """The same with a TLS handshake on each established connection, of which so many failed for each reason."""
    attempted, failed = clients.tcp.established, sum(failures.values())
    invocations = replace(clients.invocations, served=attempted - failed, failed=clients.invocations.failed + failed)
    tls = TlsCount(attempted, attempted - failed, failed, dict(failures))
    return replace(clients, invocations=invocations, tls=tls)


def burst_result(
    clients: EngineResult,
    *readings: Reading,
    first: Reading | None = None,
    held_before: tuple[Reading, ...] = (),
    load: Load | None = None,
    tracking: tuple[Tracking, ...] = (),
    incidents: tuple[str, ...] = (),
    stops: tuple[DropCount, ...] = (),
    impairments: tuple[Impairment, ...] = (),
    ports_not_found: int = 0,
    not_found_in: str = "nat_gateway",
) -> BurstResult:
    """Both accounts in one, with a prediction of nothing."""
    return assemble(
        "t",
        load or Load(connections=clients.offered),
        Resolver(),
        Prediction(clients.offered, clients.offered, None, None, ()),
        Observation(
            clients=clients,
            readings=readings,
            readings_before=held_before,
            first_to_refuse=first,
            tracking=tracking,
            incidents=incidents,
            stops=stops,
            impairments=impairments,
            ports_not_found={not_found_in: ports_not_found},
        ),
    )
