"""Any number of limits in a row: the arithmetic of a prediction against connections counted one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.capacity.predict import predict
from lab.paths.path import Hop, Path
from lab.schema.limit import ConnectionLimit
from tests.support.examples import examples
from tests.support.topologies import shipped

LAYERS = ("eni", "firewall", "transit", "nat", "server")
"""The order in which every path crosses its nodes; each has up to three."""

nodes = st.dictionaries(st.tuples(st.sampled_from(LAYERS), st.integers(0, 2)), st.integers(1, 12), min_size=1)
choices = st.lists(st.lists(st.integers(0, 2), min_size=len(LAYERS), max_size=len(LAYERS)), min_size=1, max_size=4)


class Counted(NamedTuple):
    """What became of connections that came one after the other."""

    established: int
    threshold: int | None
    refused: dict[str, int]


def counted(paths: Sequence[Path], connections: int) -> Counted:
    """Each connection meets the limits of its path in turn, and holds a slot of each that has room."""
    held: dict[str, int] = {}
    refused: dict[str, int] = {}
    established, threshold = 0, None
    for number in range(connections):
        for hop in paths[number % len(paths)].limits:
            assert hop.limit is not None
            if held.get(hop.node, 0) == hop.limit.size:
                refused[hop.node] = refused.get(hop.node, 0) + 1
                threshold = number if threshold is None else threshold
                break
            held[hop.node] = held.get(hop.node, 0) + 1
        else:
            established += 1
    return Counted(established, threshold, refused)


@examples(200)
@given(limits=nodes, chosen=choices, connections=st.integers(1, 60))
def test_as_counted_one_by_one(limits: dict[tuple[str, int], int], chosen: list[list[int]], connections: int) -> None:
    """Paths that share nodes, up to four limits each: established, threshold and refusals are those of counting."""
    paths = tuple(
        Path(
            tuple(
                Hop(f"{layer}-{number}", layer, ConnectionLimit(limits[layer, number]))
                for layer, number in zip(LAYERS, numbers, strict=True)
                if (layer, number) in limits
            )
            or (Hop("unlimited", "none"),),
            None,
            None,
        )
        for numbers in chosen
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lab.capacity.predict.paths", lambda *_: paths)
        predicted = predict(shipped("tiny"), connections)
    refused = {load.node: load.refused for load in predicted.limiters if load.refused}
    assert Counted(predicted.established or 0, predicted.drop_threshold, refused) == counted(paths, connections)
