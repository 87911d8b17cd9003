"""A drawing in DOT, the language of Graphviz: `lab graph … --format dot | dot -Tpdf`.

https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.graph.drawing import Drawing, Node
from lab.nodes.kind import Shape

__all__ = ["to_dot"]


def to_dot(drawing: Drawing) -> str:
    """The text of a directed graph."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    yield f"digraph {_quoted(drawing.name)} {{"
    yield "  rankdir=LR; nodesep=0.2; ranksep=0.7;"
    yield '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=11];'
    yield '  graph [fontname="Helvetica", fontsize=11, style=rounded, color=gray];'
    yield from _cluster("service VPC", "service VPC", drawing.in_service_vpc)
    for vpc in drawing.clusters:
        yield f"  subgraph {_quoted('cluster VPC' if len(drawing.clusters) == 1 else f'cluster VPC {vpc.name}')} {{"
        yield f"    label={_quoted(vpc.title)};"
        for subnet in vpc.subnets:
            cluster = _cluster(subnet.name, subnet.title, drawing.in_subnet(subnet.name))
            yield from (f"  {line}" for line in cluster)
        yield from (f"    {_node(node)}" for node in drawing.in_no_subnet(vpc.name))
        yield "  }"
    yield from (f"  {_node(node)}" for node in drawing.column("middle") if node.vpc is None)
    if drawing.column("servers"):
        yield from _cluster("internet", "internet", drawing.column("servers"))
    later = {node.name for node in drawing.nodes if node.later}
    for left, right in drawing.edges:
        yield f"  {_quoted(left)} -> {_quoted(right)}{' [style=dashed]' if later & {left, right} else ''};"
    for asking, resolver in drawing.questions:
        yield f"  {_quoted(asking)} -> {_quoted(resolver)} [style=dotted];"
    yield "}"
    yield from (f"// {remark}" for remark in drawing.remarks)


def _cluster(name: str, title: str, nodes: Iterable[Node]) -> Iterator[str]:
    yield f"  subgraph {_quoted(f'cluster {name}')} {{"
    yield f"    label={_quoted(title)};"
    yield from (f"    {_node(node)}" for node in nodes)
    yield "  }"


def _node(node: Node) -> str:
    return f"{_quoted(node.name)} [{_attributes(node)}];"


def _attributes(node: Node) -> str:
    lines = (*node.lines, *(("nothing gets out",) if node.dead else ()))
    text = "\\n".join((node.title, *lines))
    said = [f"label={_quoted(text)}"]
    if node.shape.dot != Shape().dot:
        said.append(f"shape={node.shape.dot}, style=solid")
    if node.occupancy and node.occupancy.full:
        said.append('style=filled, fillcolor="#c62828", fontcolor=white')
    elif node.dead:
        said.append('style=dashed, color="#c62828"')
    return ", ".join(said)


def _quoted(text: str) -> str:
    """Names here have no quotation marks of their own."""
    return f'"{text}"'
