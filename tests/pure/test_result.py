"""A burst's two accounts in one result, and its JSON."""

from __future__ import annotations

import json

import pytest

from lab.load import Load
from lab.predict import predict
from lab.result import assemble
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen
from tests.support.topologies import shipped

FIRST, SECOND, THIRD = eips(3)
AGREEING = (
    reading(ENI_A, 65_000, 20_000, 5_000),
    reading(ENI_B, 65_000, 20_000, 5_000),
    reading(FIRST, 50_000),
    reading(SECOND, 50_000),
    reading(THIRD, 30_000),
)
CLIENTS = seen(130_000, 10_000, retransmissions=30_000)


def test_document() -> None:
    """The JSON document has the fields that other programs rely on, and survives JSON."""
    result = assemble(
        "two-subnets",
        Load(connections=140_000),
        CLIENTS,
        readings=AGREEING,
        held_before=(),
        prediction=predict(shipped("two_subnets"), 140_000),
        first_to_refuse=AGREEING[0],
    )
    document = json.loads(json.dumps(result.to_json()))
    assert document["schema"] == 1
    assert (document["lab"], document["engine"], document["offered"]) == ("two-subnets", "packet", 140_000)
    assert document["dns"] == {"asked": 140_000, "answered": 140_000, "failed": 0}
    assert document["tcp"] == {
        "attempted": 140_000,
        "established": 130_000,
        "timed_out": 10_000,
        "refused": 0,
        "reset": 0,
        "syn_retransmissions": 30_000,
        "established_at_syn": [130_000],
        "half_open": 0,
        "open": 130_000,
    }
    assert (document["drop_threshold"], document["bottleneck"]) == (130_000, "hyperplane_eni")
    assert document["predicted"] == {
        "established": 130_000,
        "drop_threshold": 130_000,
        "bottleneck": "hyperplane_eni",
    }
    assert {"duration_s", "connect_phase_s", "handshakes_per_s"} <= document["timing"].keys()
    sample = {"t_s": 0.5, "attempted": 140_000, "established": 130_000, "timed_out": 0}
    assert document["series"][0] == {**sample, "open": 0, "served": 0, "reused": 0}
    assert document["disagreements"] == []


def test_limits() -> None:
    """There is one entry per ENI and one per Elastic IP, in the kernel's numbers."""
    eni, *_, eip = burst_result(CLIENTS, *AGREEING).to_json()["limits"]
    assert eni == {
        "node": "eni-private-a",
        "kind": "hyperplane_eni",
        "limit": 65_000,
        "peak": 65_000,
        "dropped_packets": 20_000,
        "dropped_connections": 5_000,
        "eip": None,
        "destination": None,
    }
    assert (eip["node"], eip["eip"], eip["destination"]) == ("natgw", "198.51.100.3", "cache")


def test_no_bottleneck() -> None:
    """A burst that nobody refused has no bottleneck and no threshold."""
    result = burst_result(seen(10), reading(ENI_A, 10), reading(FIRST, 10))
    assert (result.bottleneck, result.drop_threshold, result.disagreements) == (None, None, ())


def test_agreement_counts_from_before() -> None:
    """Connections that were there before are no disagreement."""
    before = (reading(ENI_A, 7), reading(FIRST, 7))
    result = burst_result(seen(10), reading(ENI_A, 17), reading(FIRST, 17), held_before=before)
    assert result.disagreements == ()


def test_timeouts_that_nobody_caused() -> None:
    """Timed-out connections that no limiter refused are a disagreement, with both numbers."""
    clients = seen(10, 5, retransmissions=1_000)
    found = burst_result(clients, reading(ENI_A, 15, packets=1_005, connections=2), reading(FIRST, 10))
    assert found.disagreements == (
        "clients: 5 connections with SYNs that were never answered; kernel: 2 connections refused by a limiter",
    )


def test_lost_syns() -> None:
    """SYNs that got no answer although no limiter refused them are a disagreement."""
    found = burst_result(seen(10, retransmissions=1), reading(ENI_A, 10), reading(FIRST, 10))
    assert found.disagreements == ("clients: 1 SYNs that were never answered; kernel: 0 SYNs refused by a limiter",)


def test_connections_that_the_kernel_lacks() -> None:
    """Established connections without a NAT gateway's slot are a disagreement."""
    (found,) = burst_result(seen(1_000), reading(ENI_A, 1_000), reading(FIRST, 999)).disagreements
    assert found == "clients: 1,000 connections established; kernel: 999 connections that hold a NAT gateway's slot"


@pytest.mark.parametrize("held", [10, 13, 17])
def test_refused_connections_hold_slots_for_a_moment(held: int) -> None:
    """Slots that refused connections still hold, before the collector has come by, are no disagreement."""
    assert burst_result(seen(10, refused=7), reading(ENI_A, held), reading(FIRST, held)).disagreements == ()


@pytest.mark.parametrize("held", [9, 18])
def test_refused_connections_explain_no_more_than_they_are(held: int) -> None:
    """Fewer slots than established connections, or more than were ever asked for, are a disagreement all the same."""
    (found,) = burst_result(seen(10, refused=7), reading(ENI_A, held), reading(FIRST, held)).disagreements
    assert found.startswith("clients: 10 connections established; kernel: ")


def test_a_ring_that_lost_frames() -> None:
    """Frames that the generator itself lost spoil the burst, and the result says so."""
    (found,) = burst_result(seen(10, lost=3), reading(ENI_A, 10), reading(FIRST, 10)).disagreements
    assert found == "the generator's own ring lost 3 frames"


def test_since() -> None:
    """Refusals count from an earlier reading, slots as they are."""
    before, after = reading(ENI_A, 5, 100, 10), reading(ENI_A, 8, 140, 12)
    assert after.since(before) == reading(ENI_A, 8, 40, 2)
