"""A drawing as text, as topology files open with it: box-drawing characters, 80 columns for the usual ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import fill

from lab.graph.bands import Band, Bands, bands
from lab.graph.canvas import Canvas
from lab.graph.drawing import COLUMNS, Drawing, Node, Occupancy
from lab.graph.grid import Columns, Gap, several_far, several_near
from lab.graph.placing import place, zones
from lab.graph.wiring import Wiring
from lab.graph.words import labelled
from lab.schema.names import SERVICE_VPC

__all__ = ["gauge", "to_text"]

_HEAD = 2
"""Rows of titles, and between two VPCs that of the border and that of the title."""
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


def _width(nodes: Iterable[Node]) -> int:
    return max((len(text) for node in nodes for text in (node.title, *node.lines)), default=0)


class _Columns(Columns):
    """The columns of a drawing in characters; where lines fan out there is one more for the corner."""

    def __init__(self, drawing: Drawing, bands: Bands, widths: Mapping[str, int], *, compact: bool) -> None:
        super().__init__(drawing, bands, widths)
        self._compact = compact
        self._aside = max(map(len, (drawing.resolver.title, *drawing.resolver.lines))) - 1

    def functions(self) -> tuple[int, Gap, int, int]:
        begin = 0 if self._compact else 1
        joined = begin + self.widths["functions"] + (3 if several_far(self.bands.entries) else 2)
        router = joined + 2
        parted = router + len(SERVICE_VPC) + 2
        border = max(parted + 2, 0 if self.inside else router + self._aside)
        return begin, Gap(joined, parted, router), border, border + 2

    def through_the_router(self, enis: int, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:  # noqa: ARG002
        joined = end + (3 if stopped else 2)
        router = joined + 3
        parted = router + len(self.drawing.clusters[0].router) + 1
        return Gap(joined, parted, router), parted + (3 if self.bands.idle["exits"] or several_far(of) else 2)

    def out_of_vpcs(self, end: int, of: Sequence[Band]) -> tuple[Gap, int, int]:
        border = max(end + 1, self.router + self._aside if self.inside else 0)
        fan = several_far(of) or several_near(of)
        joined = border + (2 if fan else 1)
        return Gap(joined, joined), border, joined + (3 if fan else 2)

    def into_vpcs(self, end: int, *, stopped: bool) -> tuple[Gap, int, int]:
        joined = end + (3 if stopped else 2)
        return Gap(joined, joined), joined + 2, joined + 4

    def over_no_border(self, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:
        joined = end + (3 if stopped or several_far(of) or several_near(of) else 2)
        return Gap(joined, joined), joined + 3

    def middle_of_router(self, begin: int, end: int) -> int:  # noqa: ARG002
        return begin + 1


class _Sheet:
    """One drawing in the making."""

    def __init__(self, drawing: Drawing, *, compact: bool) -> None:
        self._drawing, self._compact = drawing, compact
        self._many = len(drawing.column("enis")) - (drawing.egress is not None) > _MANY
        self._nodes = {node.name: self._worded(node) for node in drawing.nodes}
        self._bands = bands(drawing)
        self._placing = place(
            drawing,
            self._bands,
            lambda node: 1 + len(self._nodes[node.name].lines),
            gap=2 + self._resolver_rows(in_vpc=True),
            between=_HEAD,
        )
        self._widths = {
            column: _width(node for node in self._nodes.values() if node.column == column) for column in COLUMNS
        }
        self._at = _Columns(drawing, self._bands, self._widths, compact=compact).grid()
        self._canvas = Canvas()

    def text(self) -> str:
        """Draw everything, and give it back as lines of text."""
        self._draw_wires()
        self._draw_nodes()
        self._draw_borders()
        wrapped = (
            fill(remark, _WIDTH, initial_indent=" ", subsequent_indent="   ") for remark in self._drawing.remarks
        )
        remarks = "" if self._compact else "\n".join(wrapped)
        return self._canvas.text() + (f"\n{remarks}\n" if remarks else "")

    # ── What nodes say ──────────────────────────────────────────────────────────────────────────────────────

    def _worded(self, node: Node) -> Node:
        if node.column == "enis" and node.vpc is not None and self._many:
            return replace(node, title=f"{node.title}  {_brief(node)}", lines=node.labels)
        if self._compact:
            return replace(node, lines=(*((_brief(node),) if node.brief else ()), *node.labels))
        bar = () if node.occupancy is None or node.occupancy.limit is None else (gauge(node.occupancy),)
        return replace(node, lines=(*bar, *node.lines, *node.labels))

    def _resolver_rows(self, *, in_vpc: bool) -> int:
        resolver = self._drawing.resolver
        return 1 + len(resolver.lines) if (resolver.subnet is not None) == in_vpc else 0

    # ── Lines and texts ─────────────────────────────────────────────────────────────────────────────────────

    def _row(self, name: str) -> int:
        return self._placing.tops[name] + _HEAD

    def _behind(self, name: str) -> int:
        node = self._nodes[name]
        if not node.title:
            return self._at.columns[node.column] + self._widths[node.column] + 1
        return self._at.columns[node.column] + len(node.title.rstrip()) + 1

    def _draw_wires(self) -> None:
        wiring = Wiring(self._drawing, self._bands, self._at, self._row, self._behind, before=2, short=1)
        for piece in wiring.pieces():
            if piece.left == piece.right:
                self._canvas.down(piece.left, piece.top, piece.bottom)
            else:
                self._canvas.across(piece.top, piece.left, piece.right, dashed=piece.dashed)
        rails, inside = wiring.rails(), self._drawing.resolver.subnet is not None
        entries = [self._row(name) for band in self._bands.entries for name in (*band.near, *band.far)]
        bottom = self._placing.bottom + _HEAD if inside else None
        self._draw_rail(SERVICE_VPC, self._at.gaps["enis"], rails.service, None if inside else max(entries) + 1)
        if rails.vpc:
            self._draw_rail(self._drawing.clusters[0].router, self._at.gaps["exits"], rails.vpc, bottom)
        elif bottom is not None:
            self._draw_resolver_below_its_router(bottom)
        for node in self._drawing.nodes:
            if node.dead:
                self._canvas.write(self._row(node.name), wiring.stop(node) - 1, _STOP)

    def _draw_rail(self, title: str, gap: Gap, rows: list[int], resolver: int | None) -> None:
        """A router: its name, and a line down to whatever else hangs on it."""
        column = gap.router or 0
        self._canvas.down(column + 1, rows[0], max(rows) if resolver is None else resolver)
        self._canvas.write(rows[0], column - 1, f" {title} ")
        if resolver is not None:
            self._write(self._drawing.resolver.name, resolver, column - 2)

    def _draw_resolver_below_its_router(self, bottom: int) -> None:
        """Where routers are nodes; that of the resolver's VPC is the last of its column."""
        resolver = self._drawing.resolver
        for router in self._drawing.column("leaving"):
            if router.vpc == resolver.vpc:
                self._canvas.down(self._at.router + 1, self._row(router.name), bottom)
                self._write(resolver.name, bottom, self._at.router - 2)

    def _draw_nodes(self) -> None:
        for node in self._drawing.nodes:
            if node.name in self._placing.tops:
                self._write(node.name, self._row(node.name), self._at.columns[node.column])

    def _write(self, name: str, row: int, column: int) -> None:
        node = self._nodes[name]
        for below, text in enumerate((node.title, *node.lines)):
            self._canvas.write(row + below, column, text.rstrip())

    # ── Borders ─────────────────────────────────────────────────────────────────────────────────────────────

    def _draw_borders(self) -> None:
        inside = self._placing.bottom + _HEAD + self._resolver_rows(in_vpc=True)
        end = inside if self._drawing.egress else max(inside, self._canvas.rows)
        for zone, (left, right) in zip(zones(self._drawing), self._at.zones, strict=True):
            self._draw_vpcs(zone, left, right)
            for row in range(end):
                self._canvas.write_below(row, left, "│")
                self._canvas.write_below(row, right, "│")
            if self._drawing.egress:
                self._canvas.write_below(end, left, f"└{'─' * (right - left - 1)}┘")
        self._centre("service VPC", 0, 0, self._at.zones[0][0])
        if self._drawing.column("servers"):
            self._centre("internet", 0, self._at.zones[-1][1] + 1, self._at.end)

    def _draw_vpcs(self, zone: tuple[str, ...], left: int, right: int) -> None:
        """The titles of VPCs that stand one below the other, with a border between."""
        tops: dict[str, int] = {}
        for node in self._drawing.column(*zone):
            if node.vpc is not None:
                tops[node.vpc] = min(tops.get(node.vpc, self._canvas.rows), self._placing.tops[node.name])
        titles = {vpc.name: vpc.title for vpc in self._drawing.clusters}
        for number, (vpc, top) in enumerate(sorted(tops.items(), key=lambda item: item[1])):
            if number:
                self._canvas.write_below(top, left, f"├{'─' * (right - left - 1)}┤")
            self._centre(titles[vpc], top + 1 if number else 0, left + 1, right)
        if not tops:
            self._centre(self._drawing.clusters[0].title, 0, left + 1, right)

    def _centre(self, title: str, row: int, first: int, last: int) -> None:
        self._canvas.write(row, first + max(1, (last - first - len(title)) // 2), title)
