"""A drawing as text, as topology files open with it: box-drawing characters, 80 columns for the usual ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from textwrap import fill

from lab.graph.canvas import Canvas
from lab.graph.drawing import Drawing, Node, Occupancy
from lab.graph.placing import bands, place
from lab.graph.wiring import Columns, Wiring, several
from lab.graph.words import labelled
from lab.schema.names import SERVICE_VPC, VPC

__all__ = ["gauge", "to_text"]

_HEAD = 2
"""Rows of titles."""
_MANY = 4
"""More ENIs than that say what they have to say in one line each."""
_GAUGE = 10
_WIDTH = 78
_STOP = "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}"


def to_text(drawing: Drawing, *, compact: bool = False) -> str:
    """Lines of text, the last one with its line feed; `compact` says only the most necessary."""
    return _Sheet(labelled(drawing), compact=compact).text()


def gauge(occupancy: Occupancy, width: int = _GAUGE) -> str:
    """How much is held, as a bar: `■■■■■·····`; it is never quite full before the limit is reached."""
    filled = int(occupancy.share * width)
    return "■" * filled + "·" * (width - filled)


def _brief(node: Node) -> str:
    """As wide as it will ever be, so that a drawing with numbers that change stays where it is."""
    if node.occupancy is None or node.occupancy.limit is None:
        return node.brief
    limit = node.occupancy.limit
    return node.brief.ljust(len(Occupancy(limit, limit, 0).brief))


class _Sheet:
    """One drawing in the making."""

    def __init__(self, drawing: Drawing, *, compact: bool) -> None:
        self._drawing, self._compact = drawing, compact
        self._many = len(drawing.enis) > _MANY
        self._nodes = {each.name: self._worded(each) for each in drawing.nodes}
        self._bands = bands(drawing)
        self._placing = place(
            drawing,
            self._bands,
            lambda node: 1 + len(self._nodes[node.name].lines),
            gap=2 + self._resolver_rows(in_vpc=True),
        )
        self._at = self._columns()
        self._canvas = Canvas()

    def text(self) -> str:
        """Draw everything."""
        self._draw_wires()
        self._draw_nodes()
        self._draw_borders()
        wrapped = (fill(each, _WIDTH, initial_indent=" ", subsequent_indent="   ") for each in self._drawing.remarks)
        remarks = "" if self._compact else "\n".join(wrapped)
        return self._canvas.text() + (f"\n{remarks}\n" if remarks else "")

    # ── What nodes say ──────────────────────────────────────────────────────────────────────────────────────

    def _worded(self, node: Node) -> Node:
        if node.kind == "hyperplane_eni" and self._many:
            return replace(node, title=f"{node.title}  {_brief(node)}", lines=node.labels)
        if self._compact:
            return replace(node, lines=(*((_brief(node),) if node.brief else ()), *node.labels))
        bar = () if node.occupancy is None or node.occupancy.limit is None else (gauge(node.occupancy),)
        return replace(node, lines=(*bar, *node.lines, *node.labels))

    def _width(self, nodes: Iterable[Node]) -> int:
        texts = (text for node in nodes for text in (self._nodes[node.name].title, *self._nodes[node.name].lines))
        return max(map(len, texts), default=0)

    def _resolver_rows(self, *, in_vpc: bool) -> int:
        resolver = self._drawing.resolver
        return 1 + len(resolver.lines) if (resolver.subnet is not None) == in_vpc else 0

    # ── Columns ─────────────────────────────────────────────────────────────────────────────────────────────

    def _columns(self) -> Columns:
        drawing, found = self._drawing, self._bands
        inside = drawing.resolver.subnet is not None
        aside = max(map(len, (drawing.resolver.title, *drawing.resolver.lines))) - 1
        dead = any(each.dead for each in drawing.enis)
        shared_by_several = several(found.ways_out) or any(len(each.left) > 1 for each in found.ways_out)

        functions = 0 if self._compact else 1
        gathered = functions + self._width(drawing.functions) + (3 if several(found.entries) else 2)
        service = gathered + 2
        spread = service + len(SERVICE_VPC) + 2
        border = max(spread + 2, 0 if inside else service + aside)
        enis = border + 2
        joined = enis + self._width(each for each in (*drawing.enis, drawing.egress) if each) + (3 if dead else 2)
        vpc = joined + 3
        parted = vpc + len(VPC) + 1
        exits = parted + (3 if found.idle or several(found.routes) else 2)
        far_border = max(exits + self._width(drawing.exits) + 1, vpc + aside if inside else 0)
        shared = far_border + (2 if shared_by_several else 1)
        servers = shared + (3 if shared_by_several else 2)
        end = servers + self._width(drawing.servers)
        return Columns(
            functions, gathered, service, spread, border, enis, joined, vpc, parted, exits, far_border, shared,
            servers, end,
        )  # fmt: skip

    def _column(self, node: Node) -> int:
        at = self._at
        by_kind = {"fleet": at.functions, "hyperplane_eni": at.enis, "egress": at.enis, "server": at.servers}
        return by_kind.get(node.kind, at.exits)

    # ── Lines and texts ─────────────────────────────────────────────────────────────────────────────────────

    def _row(self, name: str) -> int:
        return self._placing.tops[name] + _HEAD

    def _behind(self, name: str) -> int:
        node = self._nodes[name]
        return self._column(node) + len(node.title.rstrip()) + 1

    def _draw_wires(self) -> None:
        wiring = Wiring(self._drawing, self._bands, self._at, self._row, self._behind, before=2, short=1)
        for piece in wiring.pieces():
            if piece.left == piece.right:
                self._canvas.down(piece.left, piece.top, piece.bottom)
            else:
                self._canvas.across(piece.top, piece.left, piece.right, dashed=piece.dashed)
        rails, inside = wiring.rails(), self._drawing.resolver.subnet is not None
        entries = [self._row(name) for band in self._bands.entries for name in (*band.left, *band.right)]
        self._draw_rail(SERVICE_VPC, self._at.service, rails.service, None if inside else max(entries) + 1)
        if rails.vpc:
            self._draw_rail(VPC, self._at.vpc, rails.vpc, self._placing.bottom + _HEAD if inside else None)

    def _draw_rail(self, title: str, column: int, rows: list[int], resolver: int | None) -> None:
        """A router: its name, and a line down to whatever else hangs on it."""
        self._canvas.down(column + 1, rows[0], max(rows) if resolver is None else resolver)
        self._canvas.write(rows[0], column - 1, f" {title} ")
        if resolver is not None:
            self._write(self._drawing.resolver.name, resolver, column - 2)

    def _draw_nodes(self) -> None:
        for node in self._drawing.nodes:
            if node.name in self._placing.tops:
                self._write(node.name, self._row(node.name), self._column(node))
            if node.dead:
                self._canvas.write(self._row(node.name), self._at.joined - 1, _STOP)

    def _write(self, name: str, row: int, column: int) -> None:
        node = self._nodes[name]
        for below, text in enumerate((node.title, *node.lines)):
            self._canvas.write(row + below, column, text.rstrip())

    # ── Borders ─────────────────────────────────────────────────────────────────────────────────────────────

    def _draw_borders(self) -> None:
        at = self._at
        inside = self._placing.bottom + _HEAD + self._resolver_rows(in_vpc=True)
        end = inside if self._drawing.egress else max(inside, self._canvas.rows)
        for row in range(end):
            self._canvas.write_below(row, at.border, "│")
            self._canvas.write_below(row, at.far_border, "│")
        if self._drawing.egress:
            self._canvas.write_below(end, at.border, f"└{'─' * (at.far_border - at.border - 1)}┘")
        titles = (
            ("service VPC", 0, at.border),
            (f"VPC {self._drawing.vpc}", at.border + 1, at.far_border),
            ("internet", at.far_border + 1, at.end),
        )
        for title, first, last in titles:
            self._canvas.write(0, first + max(1, (last - first - len(title)) // 2), title)
