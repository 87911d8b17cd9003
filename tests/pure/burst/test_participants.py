"""Who takes part in a burst, and what the generator is told of it."""

from __future__ import annotations

import pytest

from lab.burst.load import Load
from lab.burst.spec import participants_of, spec_of
from lab.nodes.build import build
from tests.support.topologies import function, nat_gateway, server, topology

HOLD_S = 20


def rest_s(eni: int = 0, nat: int = 0, endpoint: int = 0) -> float:
    """How long ports rest in a lab with these port holds."""
    made = topology(
        {"private-a": "natgw"},
        function("checkout", "private-a"),
        servers=(server(), server("store", 20)),
        nat_gateways=(nat_gateway(port_hold=nat),),
        endpoints=({"name": "cache", "subnet": "pub-natgw", "server": "cache", "port_hold": endpoint},),
        hyperplane_eni={"port_hold": eni},
    )
    return spec_of(participants_of(build(made, "t"), made, Load(connections=1))).rest_s


@pytest.mark.parametrize("node", ["eni", "nat", "endpoint"])
def test_a_port_rests_for_the_longest_hold(node: str) -> None:
    """Whichever node holds ports, none of a burst's is used again before that."""
    assert rest_s(**{node: HOLD_S}) == rest_s() + HOLD_S
