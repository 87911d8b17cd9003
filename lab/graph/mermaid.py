"""A drawing as a Mermaid flowchart, which GitHub, GitLab and many editors show.

https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.graph.drawing import Drawing, Node

__all__ = ["to_mermaid"]

_FORMS = {"resolver": ("([", "])"), "hyperplane_eni": ("[/", "/]"), "fleet": ("[", "]"), "server": ("[(", ")]")}
_FORM = ("{{", "}}")


def to_mermaid(drawing: Drawing) -> str:
    """The text of a flowchart."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "flowchart LR"
    outside = (*drawing.functions, *((drawing.egress,) if drawing.egress else ()))
    yield from _subgraph("service-vpc", "service VPC", [*map(_node, outside), *_resolver(drawing, inside=False)])
    yield from _subgraph("customer-vpc", f"VPC {drawing.vpc}", [*_subnets(drawing)])
    yield from _subgraph("internet", "internet", [*map(_node, drawing.servers)])
    later = {each.name for each in drawing.enis if each.later}
    for left, right in (*drawing.entries, *drawing.routes, *drawing.ways_out):
        yield f"  {_id(left)} {'-.->' if later & {left, right} else '-->'} {_id(right)}"
    asking = drawing.functions if drawing.resolver.subnet is None else drawing.enis
    for each in asking:
        yield f"  {_id(each.name)} -.->|DNS| {_id(drawing.resolver.name)}"
    yield from _classes(drawing)
    yield from (f"  %% {each}" for each in drawing.remarks)


def _subgraph(name: str, title: str, inside: list[str]) -> Iterator[str]:
    yield f'  subgraph {_id(name)}["{title}"]'
    yield from (f"  {line}" for line in inside)
    yield "  end"


def _subnets(drawing: Drawing) -> Iterator[str]:
    """Subnets with what is in them; one that is empty has a box of its own, for Mermaid draws no empty subgraph."""
    for subnet in drawing.subnets:
        members = [_node(each) for each in (*drawing.enis, *drawing.exits) if each.subnet == subnet.name]
        if drawing.resolver.subnet == subnet.name:
            members += _resolver(drawing, inside=True)
        title = f"{subnet.name} {subnet.cidr}"
        if members:
            yield from _subgraph(f"subnet-{subnet.name}", title, members)
        else:
            yield f'  {_id(f"subnet-{subnet.name}")}["{title}"]'


def _resolver(drawing: Drawing, *, inside: bool) -> list[str]:
    return [_node(drawing.resolver)] if (drawing.resolver.subnet is not None) == inside else []


def _node(node: Node) -> str:
    opening, closing = _FORMS.get(node.kind, _FORM)
    lines = (*node.lines, *(("nothing gets out",) if node.dead else ()))
    said = "<br>".join((f"<b>{node.title}</b>", *lines))
    return f'  {_id(node.name)}{opening}"{said}"{closing}'


def _id(name: str) -> str:
    """Hyphens are part of Mermaid's arrows."""
    return name.replace("-", "_")


def _classes(drawing: Drawing) -> Iterator[str]:
    """Red is what refuses: readable on a light and on a dark page."""
    full = [_id(each.name) for each in drawing.nodes if each.occupancy and each.occupancy.full]
    dead = [_id(each.name) for each in drawing.enis if each.dead]
    if full:
        yield "  classDef full fill:#c62828,stroke:#8e0000,color:#ffffff"
        yield f"  class {','.join(full)} full"
    if dead:
        yield "  classDef dead stroke:#c62828,stroke-width:2px,stroke-dasharray:4"
        yield f"  class {','.join(dead)} dead"
