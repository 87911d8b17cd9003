"""Connections counted one by one: what arithmetic has to agree with. Paths share nodes, up to four limits each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from lab.paths.path import Hop, Path, Scope, Scoped
from lab.schema.limit import ConnectionLimit

__all__ = ["CHOICES", "LAYERS", "LIMITS", "Counted", "counted", "paths_through"]

LAYERS = ("eni", "firewall", "transit", "nat", "server")
"""The order in which every path crosses its nodes; each has up to three."""

LIMITS = st.dictionaries(st.tuples(st.sampled_from(LAYERS), st.integers(0, 2)), st.integers(1, 12), min_size=1)
CHOICES = st.lists(st.lists(st.integers(0, 2), min_size=len(LAYERS), max_size=len(LAYERS)), min_size=1, max_size=4)


class Counted(NamedTuple):
    """What became of connections that came one after the other."""

    established: int
    threshold: int | None
    refused: dict[str, int]


def counted(paths: Sequence[Path], connections: int, held: dict[str, int] | None = None) -> Counted:
    """Each connection meets the limits of its path in turn, and holds a slot of each that has room.

    What is `held` before counts, and has what these hold added to it.
    """
    held = {} if held is None else held
    refused: dict[str, int] = {}
    established, threshold = 0, None
    for number in range(connections):
        for hop, (_, limit) in paths[number % len(paths)].limits:
            if held.get(hop.node, 0) == limit.size:
                refused[hop.node] = refused.get(hop.node, 0) + 1
                threshold = number if threshold is None else threshold
                break
            held[hop.node] = held.get(hop.node, 0) + 1
        else:
            established += 1
    return Counted(established, threshold, refused)


def paths_through(limits: Mapping[tuple[str, int], int], chosen: Sequence[Sequence[int]]) -> tuple[Path, ...]:
    """A path for each choice of a node of each layer; a node without a limit is left out."""
    return tuple(
        Path(
            tuple(
                _hop(f"{layer}-{number}", layer, limits[layer, number])
                for layer, number in zip(LAYERS, numbers, strict=True)
                if (layer, number) in limits
            )
            or (Hop("unlimited", "none"),),
            None,
            None,
        )
        for numbers in chosen
    )


def _hop(node: str, kind: str, limit: int) -> Hop:
    return Hop(node, kind, (Scoped(Scope(node), ConnectionLimit(limit)),))
