"""A drawing in DOT, the language of Graphviz: `lab graph … --format dot | dot -Tpdf`.

https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.graph.drawing import Drawing, Node

__all__ = ["to_dot"]

_SHAPES = {"resolver": "ellipse", "server": "cylinder", "nat_gateway": "hexagon", "interface_endpoint": "hexagon"}


def to_dot(drawing: Drawing) -> str:
    """The text of a directed graph."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    yield f"digraph {_quoted(drawing.name)} {{"
    yield "  rankdir=LR; nodesep=0.2; ranksep=0.7;"
    yield '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=11];'
    yield '  graph [fontname="Helvetica", fontsize=11, style=rounded, color=gray];'
    outside = (*drawing.functions, *((drawing.egress,) if drawing.egress else ()))
    resolver = () if drawing.resolver.subnet else (drawing.resolver,)
    yield from _cluster("service VPC", "service VPC", (*outside, *resolver))
    yield f"  subgraph {_quoted('cluster VPC')} {{"
    yield f"    label={_quoted(f'VPC {drawing.vpc}')};"
    for subnet in drawing.subnets:
        among = (*drawing.enis, *drawing.exits, drawing.resolver)
        members = tuple(each for each in among if each.subnet == subnet.name)
        yield from (f"  {line}" for line in _cluster(subnet.name, f"{subnet.name} {subnet.cidr}", members))
    yield "  }"
    yield from _cluster("internet", "internet", drawing.servers)
    later = {each.name for each in drawing.enis if each.later}
    for left, right in (*drawing.entries, *drawing.routes, *drawing.ways_out):
        yield f"  {_quoted(left)} -> {_quoted(right)}{' [style=dashed]' if later & {left, right} else ''};"
    asking = drawing.functions if drawing.resolver.subnet is None else drawing.enis
    for each in asking:
        yield f"  {_quoted(each.name)} -> {_quoted(drawing.resolver.name)} [style=dotted];"
    yield "}"
    yield from (f"// {each}" for each in drawing.remarks)


def _cluster(name: str, title: str, nodes: Iterable[Node]) -> Iterator[str]:
    yield f"  subgraph {_quoted(f'cluster {name}')} {{"
    yield f"    label={_quoted(title)};"
    yield from (f"    {_quoted(each.name)} [{_attributes(each)}];" for each in nodes)
    yield "  }"


def _attributes(node: Node) -> str:
    lines = (*node.lines, *(("nothing gets out",) if node.dead else ()))
    text = "\\n".join((node.title, *lines))
    said = [f"label={_quoted(text)}"]
    if shape := _SHAPES.get(node.kind):
        said.append(f"shape={shape}, style=solid")
    if node.occupancy and node.occupancy.full:
        said.append('style=filled, fillcolor="#c62828", fontcolor=white')
    elif node.dead:
        said.append('style=dashed, color="#c62828"')
    return ", ".join(said)


def _quoted(text: str) -> str:
    """Names here have no quotation marks of their own."""
    return f'"{text}"'
