"""The specs that cross from the lab to the traffic processes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

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
)
from traffic.spec import Arrivals, BurstSpec, EniPath, FleetSpec, Growth, PortBlocks, ResolverSpec, ServerSpec

BURST = BurstSpec(
    fleets=(
        FleetSpec(
            "eth0", "02:00:00:00:00:01", (EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 650),)
        ),
    ),
    resolver_address=IPv4Address("100.64.0.3"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=1000,
    blocks=PortBlocks(first_port=1024, ports=1000, per_environment=10),
    arrivals=Arrivals(0.0, 500.0, 60.0),
    growth=Growth(1000, 100.0),
    destinations=(IPv4Address("203.0.113.10"),),
)


@pytest.mark.parametrize(
    "spec",
    [
        BURST,
        replace(BURST, growth=None, destinations=None, protocol="udp", hold_s=0.5, requests=None),
        BURST.sources[0],
        ResolverSpec("eth0", IPv4Address("100.64.0.3"), {"cache.example.com": ("203.0.113.10", "203.0.113.11")}),
        ServerSpec("eth0", (IPv4Address("203.0.113.10"),), 443, "cache", "cache.example.com"),
    ],
)
def test_specs_survive_json(spec: BurstSpec | EniPath | ResolverSpec | ServerSpec) -> None:
    """A spec that was written as JSON is read back as the same value."""
    assert type(spec).from_json(spec.to_json()) == spec


def test_unknown_keys_are_refused() -> None:
    """A key that a spec does not have is named, not ignored."""
    with pytest.raises(ValueError, match="unknown keys colour"):
        ServerSpec.from_json('{"colour": "blue"}')


def test_results_survive_json() -> None:
    """A result that was written as JSON values is read back as the same value."""
    result = EngineResult(
        offered=3,
        invocations=InvocationCount(3, 2, 1, 1, 4),
        dns=DnsCount(3, 3, 0),
        tcp=TcpCount(3, 2, 1, 0, 0, 4, (1, 1), 0, 2),
        requests=RequestCount(5, 4),
        drop_threshold=2,
        latency=Latency(None, Percentiles(2, 0.1, 0.2, 0.3, 0.4, 0.5), None),
        timing=Timing(0.1, 30.0, 20.0, 30.0, (1.0, 2.0)),
        series=(Sample(0.5, 3, 2, 0),),
        ring=RingCount(8, 0),
    )
    assert EngineResult.from_json(result.to_json()) == result
