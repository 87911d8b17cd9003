"""What nodes say where lines alone would leave it open who leads to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.graph.drawing import Drawing, Node
from lab.graph.placing import bands, leading

__all__ = ["labelled"]


def labelled(drawing: Drawing) -> Drawing:
    """The drawing with a line more for each node of a band in which not all lead to all."""
    found = bands(drawing)
    titles = {each.name: each.title for each in drawing.nodes}
    said: dict[str, list[str]] = {}

    def say(word: str, name: str, others: tuple[str, ...]) -> None:
        said.setdefault(name, []).extend(_wrapped(word, tuple(titles[each] for each in others)))

    for band in (each for each in found.entries if not each.complete):
        for eni in band.left:
            say("of", eni, leading(drawing.entries, to=eni))
    for band in (each for each in found.routes if not each.complete):
        for eni in band.left:
            say("→", eni, tuple(out for one, out in drawing.routes if one == eni))
    for band in (each for each in found.ways_out if not each.complete):
        for server in band.right:
            say("by", server, leading(drawing.ways_out, to=server))

    def with_label(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(replace(each, labels=tuple(said.get(each.name, ()))) for each in nodes)

    return replace(drawing, enis=with_label(drawing.enis), servers=with_label(drawing.servers))


def _wrapped(word: str, names: tuple[str, ...]) -> Iterator[str]:
    """`→ natgw-a, natgw-b`, two names in a line."""
    for first in range(0, len(names), 2):
        yield f"{word} {', '.join(names[first : first + 2])}"
