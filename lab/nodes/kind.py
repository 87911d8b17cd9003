"""What every room may ask of a node kind; each kind states its answers in its own package, `lab.nodes.KIND`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Column", "Figure", "NodeKind", "Shape"]

Column = Literal["functions", "enis", "middle", "exits", "servers", "aside"]
"""From left to right; in the `middle` is what leads from VPC to VPC; what is `aside` hangs on a router."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a node of the kind is drawn."""

    column: Column | None = None
    """The column of the drawing; None for what has no box: routers, and the internet."""
    dot: str = "box"
    """Graphviz' name of the shape (graphviz.org/doc/info/shapes.html)."""
    mermaid: tuple[str, str] = ("[", "]")
    """The brackets that make the shape in Mermaid."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure in a report that shows what the kind's limiters hold over time."""

    name: str
    """The name of its file."""
    title: str
    note: str
    """What it shows, in a sentence."""


@dataclass(frozen=True, slots=True)
class NodeKind:
    """A kind of node."""

    name: str
    """The name in plans, JSON documents and module names: `nat_gateway`."""
    words: str
    """The name in sentences: `NAT gateway`."""
    plural: str
    shape: Shape = Shape()
    sees_environments: bool = False
    """Whether its limiters know a connection by the execution environment's own address and port."""
    figure: Figure | None = None
    """None where nothing limits connections."""
    own_addresses: int = 0
    """How many of its addresses, the first ones, no connection leaves with: a NAT gateway's address in its subnet."""
    refuses_translated: bool = False
    """Whether connections that it refuses have the server's own address already, whatever clients know it by."""
    one_slot_each: bool = False
    """Whether a connection through it holds just one slot of all such nodes, and questions to a name server none."""
    answers: bool = False
    """Whether packets end here: clients ask it, or connect to it."""
    has_cloudwatch: bool = False
    """Whether CloudWatch has metrics of it."""
    follows_others: bool = False
    """Whether its ports and routes follow from what other nodes are, so that a change of them is not told apart."""

    @property
    def one(self) -> str:
        """With its article: `a NAT gateway`, `an interface endpoint`."""
        return f"{'an' if self.words[0].lower() in 'aeio' else 'a'} {self.words}"
