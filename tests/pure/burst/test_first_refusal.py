"""Which connection was refused first: by age where that tells, by its number within one tick of the clock."""

from __future__ import annotations

from ipaddress import IPv4Address

import numpy as np
import pytest

from lab.burst.ports import first_to_refuse
from lab.nodes.build import build
from tests.support.bursts import ENI_A, ENI_B, eips, reading
from tests.support.topologies import shipped
from traffic.fleet import Fleet
from traffic.spec import BurstSpec, EniPath, FleetSpec

SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "svc",
            "02:00:00:00:00:01",
            (
                EniPath("eni-private-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 4096),
                EniPath("eni-private-b", "02:00:00:00:00:04", IPv4Address("100.65.32.0"), 4096),
            ),
        ),
    ),
    resolver_address=IPv4Address("100.64.0.2"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=140_000,
)
ENI_ADDRESSES = {
    "eni-private-a": (IPv4Address("10.0.1.4"), IPv4Address("10.0.1.5")),
    "eni-private-b": (IPv4Address("10.0.2.4"),),
}
NAT = eips(1)[0]
SERVER_FULL = build(shipped("server_full"))


def client(number: int) -> tuple[str, int]:
    """Address and port of a connection, as ENIs see them."""
    ends = Fleet(SPEC).endpoints(np.array([number], np.int64))
    return str(IPv4Address(int(ends.address[0]))), int(ends.port[0])


def translated(number: int) -> tuple[str, int]:
    """The same, as NAT gateways see them: an address of the ENI's, and the port that the ENI kept."""
    eni = SPEC.sources[number % len(SPEC.sources)].eni
    return str(ENI_ADDRESSES[eni][-1]), client(number)[1]


def test_nobody() -> None:
    """Limiters that refused nothing in this burst are none, whatever was refused before it."""
    assert first_to_refuse([reading(ENI_A), reading(NAT)], SPEC, ENI_ADDRESSES) is None
    old = reading(ENI_A, first=(500.0, *client(0)))
    assert first_to_refuse([old], SPEC, ENI_ADDRESSES) is None


def test_older_wins() -> None:
    """A refusal that is older by more than a tick was first, whatever its connection's number."""
    younger = reading(ENI_A, packets=1, first=(1.0, *client(0)))
    older = reading(ENI_B, packets=1, first=(1.1, *client(1)))
    assert first_to_refuse([younger, older], SPEC, ENI_ADDRESSES) is older


@pytest.mark.parametrize("age_s", [0.995, 1.0, 1.005])
def test_number_wins_within_a_tick(age_s: float) -> None:
    """Within one tick of the kernel's clock, the connection with the smaller number was first."""
    zero = reading(ENI_A, packets=1, first=(1.0, *client(0)))
    one = reading(ENI_B, packets=1, first=(age_s, *client(1)))
    assert first_to_refuse([one, zero], SPEC, ENI_ADDRESSES) is zero
    assert first_to_refuse([zero, one], SPEC, ENI_ADDRESSES) is zero


@pytest.mark.parametrize("number", [0, 200, 64_999, 100_000, 129_998])
def test_behind_an_eni(number: int) -> None:
    """A NAT gateway knows ENI addresses only; the source port tells which environment's connection it was."""
    eni = reading(ENI_A, packets=1, first=(1.0, *client(number)))
    before = reading(NAT, packets=1, first=(1.0, *translated(max(number - 1, 0))))
    after = reading(NAT, packets=1, first=(1.0, *translated(number + 1)))
    assert first_to_refuse([before, eni], SPEC, ENI_ADDRESSES) is before
    assert first_to_refuse([after, eni], SPEC, ENI_ADDRESSES) is eni


def test_strangers_come_last() -> None:
    """A connection that is none of the burst's does not win within a tick."""
    stranger = reading(ENI_B, packets=1, first=(1.0, "100.65.48.9", 1))
    ours = reading(ENI_A, packets=1, first=(1.0, *client(200)))
    assert first_to_refuse([stranger, ours], SPEC, ENI_ADDRESSES) is ours


def test_a_stranger_alone() -> None:
    """A stranger's refusal is still somebody's: the limiter that refused is found."""
    stranger = reading(NAT, packets=1, first=(1.0, "10.0.9.9", 40_000))
    assert first_to_refuse([stranger], SPEC, ENI_ADDRESSES) is stranger


@pytest.mark.parametrize(("free", "first"), [(37, "srv-orders-db"), (38, "natgw"), (39, "natgw")])
def test_a_server_that_knows_elastic_ips_only(free: int, first: str) -> None:
    """Within a tick it is first if it had room for fewer connections than came before the other's refusal."""
    seen = reading(NAT, packets=1, first=(1.0, *translated(38)))
    limiter = next(each for each in SERVER_FULL.limiters if each.kind == "server")
    server = reading(limiter, packets=1, first=(1.0, "198.51.100.1", 2000))
    before = [reading(limiter, limiter.limit - free)]
    refused = first_to_refuse([seen, server], SPEC, ENI_ADDRESSES, before)
    assert refused is not None
    assert refused.limiter.node == first
