"""Connection numbers and the addresses and ports that stand for them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from traffic.fleet import Fleet
from traffic.spec import BurstSpec, EniPath, FleetSpec, HostPorts, PortBlocks

SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "eth0",
            "02:00:00:00:00:01",
            (
                EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.66.0.0"), 1000),
                EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 1000),
            ),
        ),
    ),
    resolver_address=IPv4Address("100.64.0.3"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=130_000,
)


def _port(turn: int) -> int:
    return SPEC.blocks.port(turn)


def _column(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_connections_take_paths_in_turn() -> None:
    """Neighbouring connections leave by different ENIs, from the first ports of their first environment."""
    ends = Fleet(SPEC).endpoints(_column(0, 1, 2))
    assert ends.path.tolist() == [0, 1, 0]
    assert ends.port.tolist() == [536, 536, 536 + 40_173]
    assert [str(IPv4Address(int(address))) for address in ends.address] == [
        "100.66.0.0",
        "100.65.0.0",
        "100.66.0.0",
    ]


def test_ports_are_distinct_within_an_eni() -> None:
    """The first 65,000 connections through an ENI have as many source ports, so SNAT never searches."""
    ends = Fleet(SPEC).endpoints(np.arange(130_000))
    for path in (0, 1):
        ports = ends.port[ends.path == path]
        assert len(np.unique(ports)) == 65_000
        assert (ports.min(), ports.max()) == (536, 65_535)


def test_ports_in_use_are_spread_evenly() -> None:
    """Whatever the number of connections, no 128 neighbouring ports are all in use before nearly all are."""
    ports = Fleet(SPEC).endpoints(np.arange(0, 2 * 55_000, 2)).port
    assert np.diff(np.sort(ports)).max() <= 3
    used = np.zeros(65_536, bool)
    used[ports] = True
    free = np.flatnonzero(~used[536:])
    assert np.diff(free).max() < 64


@given(
    first=st.integers(0, 50_000),
    functions=st.integers(1, 3),
    connections=st.integers(1, 5_000),
    per_environment=st.integers(1, 200),
    paths=st.integers(1, 5),
    ports=st.integers(200, 60_000),
)
def test_every_connection_is_found_again(  # noqa: PLR0917 -- each is drawn
    first: int, functions: int, connections: int, per_environment: int, paths: int, ports: int
) -> None:
    """Address and port lead back to the connection that they were made for, whatever the ports and functions."""
    fleets = tuple(
        FleetSpec(
            "eth0",
            "02:00:00:00:00:01",
            tuple(
                EniPath(
                    f"eni-{n}", "02:00:00:00:00:03", IPv4Address(0x64410000 - (8 * function + n) * 0x10000), 0x10000
                )
                for n in range(paths + function)
            ),
            first_connection=first + function,
        )
        for function in range(functions)
    )
    fleet = Fleet(
        replace(
            SPEC,
            fleets=fleets,
            connections=connections,
            blocks=PortBlocks(ports=ports, per_environment=per_environment),
        )
    )
    everyone = np.arange(connections)
    ends = fleet.endpoints(everyone)
    assert (fleet.indices(ends.address, ends.port) == everyone).all()


def test_strangers_are_nobody() -> None:
    """An address outside the ranges, a port outside the block, another burst's connection: all are -1."""
    later = replace(SPEC.fleets[0], first_connection=10)
    fleet = Fleet(replace(SPEC, fleets=(later,), connections=10))
    ours, below, beyond = (int(IPv4Address(text)) for text in ("100.66.0.0", "100.64.255.255", "100.66.3.232"))
    indices = fleet.indices(
        _column(below, beyond, ours, ours, ours, ours), _column(536, 536, 535, 537, _port(4), _port(5))
    )
    assert indices.tolist() == [-1, -1, -1, -1, -1, 0]


def test_a_small_fleet_is_refused() -> None:
    """A burst that its execution environments have no ports for is refused, with the ENI's name."""
    with pytest.raises(ValueError, match="eni-b: 100001 connections do not fit into 1000 execution"):
        Fleet(replace(SPEC, connections=200_002))


def test_a_host_uses_its_ports_for_each_destination() -> None:
    """Connections to two destinations take turns, each with the host's ports anew, and are found by both."""
    rows = (HostPorts(3, 4), HostPorts(0, 6))
    host = replace(SPEC.fleets[0], paths=SPEC.fleets[0].paths[:1], host=rows)
    fleet = Fleet(replace(SPEC, fleets=(host,), connections=14, blocks=PortBlocks(40_000, 6, 6)))
    indices = np.arange(14)
    ports = fleet.endpoints(indices).port
    for destination in (0, 1):
        own = indices[destination:12:2]
        assert len(set(ports[own].tolist())) == 6
        addresses = np.full(len(own), int(host.paths[0].first_address))
        assert fleet.indices(addresses, ports[own], destination).tolist() == own.tolist()
    assert np.flatnonzero(fleet.without_port(indices)).tolist() == [8, 10, 12, 13]
    assert not fleet.without_port(indices, unseen=True).any()
