"""One drop, told by prediction, by the kernel's counter and by a result: the same point."""

from __future__ import annotations

from lab.nodes.build import build
from lab.paths.routes import paths
from tests.support.topologies import shipped


def test_the_point_of_a_drop() -> None:
    """Where the topology predicts a drop there is a counter with an equal point, and its number keeps that point."""
    for name in ("security_group", "network_acl", "no_route"):
        made = shipped(name)
        counters = {counter.point: counter for counter in build(made).barriers}
        (end,) = {
            way.dead_end for function in made.functions for way in paths(made, function.name, "cache") if way.dead_end
        }
        counter = counters[end.point]
        assert counter.counted(7, end.cure).point == end.point
        assert counter.counted(7, end.cure) == end.counted(7, end.cure)
