"""What every room may ask of a node kind; each kind states its answers in its own package, `lab.nodes.KIND`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Column", "NodeKind", "Shape"]

Column = Literal["functions", "enis", "middle", "exits", "servers"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a node of the kind is drawn."""

    column: Column | None = None
    """The column of the drawing; None for what is drawn around the columns, or not at all."""
    dot: str = "box"
    """Graphviz' name of the shape (graphviz.org/doc/info/shapes.html)."""
    mermaid: tuple[str, str] = ("[", "]")
    """The brackets that make the shape in Mermaid."""


@dataclass(frozen=True, slots=True)
class NodeKind:
    """A kind of node."""

    name: str
    """As plans, JSON documents and module names have it: `nat_gateway`."""
    words: str
    """As sentences have it: `NAT gateway`."""
    plural: str
    shape: Shape = Shape()
    sees_environments: bool = False
    """Whether its limiters know a connection by the execution environment's own address and port."""
    has_cloudwatch: bool = False
    """Whether CloudWatch has metrics of it."""
    follows_others: bool = False
    """Whether its ports and routes follow from what other nodes are, so that a change of them is not told apart."""

    @property
    def one(self) -> str:
        """With its article: `a NAT gateway`, `an interface endpoint`."""
        return f"{'an' if self.words[0].lower() in 'aeio' else 'a'} {self.words}"
