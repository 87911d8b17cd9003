"""A drawing as a Mermaid flowchart, which GitHub, GitLab and many editors show.

https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.graph.drawing import Cluster, Drawing, Node

__all__ = ["to_mermaid"]


def to_mermaid(drawing: Drawing) -> str:
    """The text of a flowchart."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "flowchart LR"
    yield from _subgraph("service-vpc", "service VPC", [*map(_node, drawing.in_service_vpc)])
    for vpc in drawing.clusters:
        name = "customer-vpc" if len(drawing.clusters) == 1 else f"vpc-{vpc.name}"
        yield from _subgraph(name, vpc.title, [*_subnets(drawing, vpc)])
    yield from (_node(node) for node in drawing.column("middle") if node.vpc is None)
    if drawing.column("servers"):
        yield from _subgraph("internet", "internet", [*map(_node, drawing.column("servers"))])
    later = {node.name for node in drawing.nodes if node.later}
    for left, right in drawing.edges:
        yield f"  {_id(left)} {'-.->' if later & {left, right} else '-->'} {_id(right)}"
    for asking, resolver in drawing.questions:
        yield f"  {_id(asking)} -.->|DNS| {_id(resolver)}"
    yield from _classes(drawing)
    yield from (f"  %% {remark}" for remark in drawing.remarks)


def _subgraph(name: str, title: str, inside: list[str]) -> Iterator[str]:
    yield f'  subgraph {_id(name)}["{title}"]'
    yield from (f"  {line}" for line in inside)
    yield "  end"


def _subnets(drawing: Drawing, vpc: Cluster) -> Iterator[str]:
    """Subnets with what is in them, then what is in none.

    A subnet that is empty has a box of its own, for Mermaid draws no empty subgraph.
    """
    for subnet in vpc.subnets:
        members = [_node(node) for node in drawing.in_subnet(subnet.name)]
        if members:
            yield from _subgraph(f"subnet-{subnet.name}", subnet.title, members)
        else:
            yield f'  {_id(f"subnet-{subnet.name}")}["{subnet.title}"]'
    yield from map(_node, drawing.in_no_subnet(vpc.name))


def _node(node: Node) -> str:
    opening, closing = node.shape.mermaid
    lines = (*node.lines, *(("nothing gets out",) if node.dead else ()))
    said = "<br>".join((f"<b>{node.title}</b>", *lines))
    return f'  {_id(node.name)}{opening}"{said}"{closing}'


def _id(name: str) -> str:
    """Hyphens are part of Mermaid's arrows."""
    return name.replace("-", "_")


def _classes(drawing: Drawing) -> Iterator[str]:
    """Red is what refuses: readable on a light and on a dark page."""
    full = [_id(node.name) for node in drawing.nodes if node.occupancy and node.occupancy.full]
    dead = [_id(node.name) for node in drawing.nodes if node.dead]
    if full:
        yield "  classDef full fill:#c62828,stroke:#8e0000,color:#ffffff"
        yield f"  class {','.join(full)} full"
    if dead:
        yield "  classDef dead stroke:#c62828,stroke-width:2px,stroke-dasharray:4"
        yield f"  class {','.join(dead)} dead"
