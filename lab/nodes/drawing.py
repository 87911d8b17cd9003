"""What drawings show of each node kind: `lab.nodes.KIND.drawing` lists its nodes, and what stands in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from lab.nodes.kind import Column, NodeKind
from lab.schema.base import Model
from lab.topology import Topology

__all__ = ["Drawn", "drawn", "timeouts"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One node of a drawing, and what it says."""

    name: str
    """The node's name in the plan."""
    title: str
    """The name in the box."""
    lines: tuple[str, ...] = ()
    """Lines below the title."""
    brief: str = ""
    """The same in a word or two, for where there are many of its kind."""
    beside_numbers: tuple[str, ...] = ()
    """The lines that stay when what a limiter holds now takes the place of its limit."""
    subnet: str | None = None
    """The subnet that it is in; None outside all VPCs, or in no subnet."""
    vpc: str | None = None
    """The VPC that it is in, if it is in none of its subnets."""
    beside: str | None = None
    """The node beside which it appears, leading where that leads; None for what is there from the beginning."""
    column: Column | None = None
    """Another column than that of its kind."""


class Drawer(Protocol):
    """The module `lab.nodes.KIND.drawing` of each node kind that has a column."""

    def drawn(self, topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
        """All nodes of the kind; `passed` are the nodes through which connections reach a server."""


def drawn(kind: NodeKind, topology: Topology, passed: Collection[str]) -> tuple[Drawn, ...]:
    """The nodes of one kind."""
    if kind.shape.column is None:
        return ()
    return tuple(cast("Drawer", import_module(f"lab.nodes.{kind.name}.drawing")).drawn(topology, passed))


def timeouts(settings: Model) -> Iterator[str]:
    """A node's timeouts that differ from the default."""
    words = (("idle_timeout_s", "idle"), ("half_open_timeout_s", "half-open"), ("port_hold_s", "held"))
    for field, said in words:
        value = getattr(settings, field)
        if value != type(settings).model_fields[field].default:
            yield f"{said} {value} s"
