"""A server that keeps so many connections only, in predictions: the last limit of every path to it."""

from __future__ import annotations

import pytest

from lab.capacity.predict import predict
from lab.schema.scale import scaled
from lab.topology import Topology
from tests.support.topologies import function, nat_gateway, server, shipped, topology


def small(limit: int = 12, eip: int = 100, *functions: dict[str, object]) -> Topology:
    """Two subnets, ENIs of 20, one Elastic IP; `store` keeps any number of connections."""
    return topology(
        {"private-a": "natgw", "private-b": "natgw"},
        *(functions or (function("checkout", "private-a", "private-b"),)),
        nat_gateways=(nat_gateway(connections_per_destination=eip),),
        servers=(server(max_connections=limit), server("store", 20)),
        hyperplane_eni={"connection_limit": 20},
    )


@pytest.mark.parametrize(
    ("server_limit", "eip", "established", "bottleneck"),
    [
        (12, 100, 12, "server"),
        (40, 100, 40, None),
        (41, 30, 30, "nat_gateway"),
        (30, 30, 30, "nat_gateway"),
        (29, 30, 29, "server"),
    ],
)
def test_the_smallest_limit_binds(server_limit: int, eip: int, established: int, bottleneck: str | None) -> None:
    """40 connections over two ENIs of 20: of Elastic IP and server the smaller one refuses, of equals the first."""
    predicted = predict(small(server_limit, eip), 40)
    assert (predicted.established, predicted.bottleneck) == (established, bottleneck)
    assert predicted.drop_threshold == (established if bottleneck else None)


def test_other_servers_have_no_part_in_it() -> None:
    """A limit is that of one server."""
    assert predict(small(), 40, server="store").established == 40


def test_udp_is_not_counted() -> None:
    """A flow over UDP is no connection to a server."""
    assert predict(small(), 40, protocol="udp").established == 40


def test_outside_the_vpc() -> None:
    """Where no ENI and no NAT gateway is on the way, the server still is."""
    predicted = predict(small(12, 100, function("checkout")), 40)
    assert (predicted.established, predicted.bottleneck) == (12, "server")


def test_what_is_held_already() -> None:
    """Connections that are there leave so much less room."""
    predicted = predict(small(), 40, in_use=lambda scope: 5 if scope.node == "srv-cache" else 0)
    assert (predicted.established, predicted.drop_threshold) == (7, 7)


def test_scale_divides_it() -> None:
    """`--scale` divides a server's limit as every other."""
    assert scaled(shipped("server_full"), 10).servers[0].max_connections == 4
