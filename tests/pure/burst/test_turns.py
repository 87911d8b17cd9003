"""Ports of functions that share an ENI."""

from __future__ import annotations

from lab.burst.load import Load
from lab.burst.spec import participants_of
from lab.burst.turns import first_turns
from lab.nodes.build import build
from tests.support.topologies import shipped


def test_functions_that_fill_an_eni_have_all_its_ports_once() -> None:
    """55,000 and 10,000 turns are 65,000 ports, none of them twice."""
    topology = shipped("two_functions")
    participants = participants_of(build(topology), topology, Load(120_000, function=("checkout", "reports")))
    checkout, reports = (turn or 0 for turn in first_turns(participants, ()))
    turns = [*range(checkout, checkout + 55_000), *range(reports, reports + 10_000)]
    assert len({participants.blocks.port(turn) for turn in turns}) == 65_000
