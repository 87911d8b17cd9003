"""Readings of limiters, which are what a sample says of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from lab.nodes.build import build
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.slots import counters as counting
from lab.slots.limiter import Limiter
from tests.support.topologies import shipped

NOTHING = InterfaceCount(0, 0, 0, 0)
FIRST = FirstRefusal(3.5, IPv4Address("10.0.1.4"), 1024)


def limiters(topology: str, kind: str) -> list[Limiter]:
    """All of a kind in a lab of a topology that ships."""
    return [limiter for limiter in build(shipped(topology)).limiters if limiter.kind == kind]


def sample_of(limiter: Limiter, **of_the_node: object) -> Sample:
    """A sample in which one limiter has 7 connections, and has refused 2 with 5 packets."""
    refused = {limiter.refused_connections: 2, limiter.refused_packets: 5}
    node = NodeSample({**refused, counting.ADMITTED: 7}, {limiter.slots: 7}, 7, NOTHING, NOTHING, FIRST)
    return Sample(0.0, {limiter.place: replace(node, **of_the_node)})  # type: ignore[arg-type]


def test_a_reading_is_what_a_sample_says_of_a_limiter() -> None:
    """What it holds and has refused, and whom its node refused first."""
    eni, *_ = limiters("tiny", "hyperplane_eni")
    assert sample_of(eni).readings([eni]) == (Reading(eni, 7, 5, 2, FIRST),)


def test_what_is_gone_holds_nothing() -> None:
    """Nor has it refused anything: a node that is not in the sample, an Elastic IP whose counters are not."""
    eni, other = limiters("tiny", "hyperplane_eni")
    kept, gone, *_ = limiters("tiny", "nat_gateway")
    assert sample_of(eni).readings([other]) == (Reading(other, 0, 0, 0, None),)
    assert sample_of(kept).readings([kept, gone]) == (Reading(kept, 7, 5, 2, FIRST), Reading(gone, 0, 0, 0, None))


def test_an_eni_that_is_not_there_yet() -> None:
    """It shares the node of the one before it, and has not appeared until the sample says so."""
    further = next(limiter for limiter in limiters("eni_scaling", "hyperplane_eni") if limiter.of)
    absent = sample_of(further, absent=frozenset({further.slots}))
    assert [reading.appeared for reading in absent.readings([further])] == [False]
    assert [reading.appeared for reading in sample_of(further).readings([further])] == [True]


def test_what_was_refused_first_makes_no_other_sample() -> None:
    """Its age would: a history keeps a sample only where counts have changed."""
    eni, *_ = limiters("tiny", "hyperplane_eni")
    assert sample_of(eni).nodes == sample_of(eni, first_refusal=replace(FIRST, age_s=4.5)).nodes
