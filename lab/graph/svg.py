"""A drawing as SVG: boxes in columns, gauges in what has a limit; needs no Graphviz, no font and no other file.

Its colours are variables that a page around it may set (`--lab-graph-ink` and so on); by themselves they follow the
reader's preference for light or dark, and paper is light.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lab.graph.bands import Band, Bands, bands
from lab.graph.drawing import COLUMNS, Drawing, Node, Occupancy
from lab.graph.grid import Columns, Gap, several_far
from lab.graph.placing import place, zones
from lab.graph.wiring import Piece, Wiring
from lab.graph.words import labelled
from lab.schema.names import SERVICE_VPC

__all__ = ["to_svg"]

_TITLE_PX, _LINE_PX = 13, 11
_LINE_HEIGHT, _PADDING, _GAP, _GAUGE_HEIGHT = 15, 8, 12, 8
_ANCHOR = _PADDING + 8
"""Where lines meet a box: beside its title."""
_HEAD, _MARGIN = 54, 14
_RAIL = 34
"""The width of a router."""
_TITLE_GLYPH, _LINE_GLYPH = 8.8, 7.2
"""How wide a character is at most, on average, in any of the fonts that browsers take for system-ui, bold or not."""

_LIGHT = {
    "ink": "#1d2329",
    "soft": "#5a6570",
    "line": "#66727e",
    "box": "#ffffff",
    "zone": "#f3f5f7",
    "edge": "#c3cbd3",
    "held": "#2f6fb3",
    "full": "#c62828",
}
_DARK = {
    "ink": "#e8ebee",
    "soft": "#a9b3bd",
    "line": "#8c98a4",
    "box": "#20262c",
    "zone": "#171c21",
    "edge": "#3d4750",
    "held": "#6aa9e9",
    "full": "#ff6f60",
}


def to_svg(drawing: Drawing) -> str:
    """One complete `<svg>` element, to be a file or a part of a page."""
    return _Sheet(labelled(drawing)).text()


@dataclass(frozen=True, slots=True)
class _Box:
    """The position and size of a node's box."""

    x: int
    y: int
    width: int
    height: int


class _Columns(Columns):
    """The columns of a drawing in pixels."""

    def __init__(self, drawing: Drawing, bands: Bands, widths: Mapping[str, int]) -> None:
        super().__init__(drawing, bands, widths)
        self._aside = _width((drawing.resolver,)) // 2

    def functions(self) -> tuple[int, Gap, int, int]:
        begin = _MARGIN + 10
        joined = begin + self.widths["functions"] + 14
        router = max(joined + 14, 0 if self.inside else begin + self._aside - _RAIL // 2)
        parted = router + _RAIL + 14
        border = max(parted + 8, 0 if self.inside else router + _RAIL // 2 + self._aside + 10)
        return begin, Gap(joined, parted, router), border, border + 28

    def through_the_router(self, enis: int, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:  # noqa: ARG002
        joined = end + 18
        router = max(joined + 16, enis + self._aside if self.inside else 0)
        parted = router + _RAIL + 14
        return Gap(joined, parted, router), parted + (14 if self.bands.idle["exits"] or several_far(of) else 4)

    def out_of_vpcs(self, end: int, of: Sequence[Band]) -> tuple[Gap, int, int]:  # noqa: ARG002
        border = max(end + 10, self.router + _RAIL // 2 + self._aside + 10 if self.inside else 0)
        return Gap(border + 26, border + 26), border, border + 42

    def into_vpcs(self, end: int, *, stopped: bool) -> tuple[Gap, int, int]:  # noqa: ARG002
        return Gap(end + 18, end + 18), end + 26, end + 54

    def over_no_border(self, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:  # noqa: ARG002
        return Gap(end + 18, end + 18), end + 34

    def middle_of_router(self, begin: int, end: int) -> int:
        return (begin + end - _RAIL) // 2


class _Sheet:
    """One drawing in the making."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._bands = bands(drawing)
        asides = _height(drawing.resolver)
        inside = drawing.resolver.subnet is not None
        placing = place(drawing, self._bands, _height, gap=2 * _GAP + (asides if inside else 0), between=_HEAD)
        self._tops = placing.tops
        self._widths = {column: _width(drawing.column(column)) for column in COLUMNS}
        self._at = _Columns(drawing, self._bands, self._widths).grid()
        self._boxes = {node.name: self._box(node) for node in drawing.nodes if node.name in placing.tops}
        wiring = Wiring(drawing, self._bands, self._at, self._row, self._behind, before=0, short=4)
        self._pieces, self._rails = tuple(wiring.pieces()), wiring.rails()
        self._stops = {node.name: wiring.stop(node) for node in drawing.nodes if node.dead}
        self._vpc_end = placing.bottom + _HEAD + (asides if inside else 0) + 4
        below = max(self._service_ends()) + _GAP
        resolver = (self._at.router, placing.bottom + _HEAD) if inside else (self._at.gaps["enis"].router or 0, below)
        self._boxes[drawing.resolver.name] = self._aside(*resolver)
        self._height = max(self._vpc_end, *(box.y + box.height + 12 for box in self._boxes.values())) + _MARGIN

    def text(self) -> str:
        """Draw everything, what lies below first."""
        width = self._at.end + 10 + _MARGIN
        title = escape(f"lab {self._drawing.name}")
        size = f'viewBox="0 0 {width} {self._height}" width="{width}" height="{self._height}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lab-graph" {size} role="img">',
            f"<title>{title}</title>",
            f"<style>{_style()}</style>",
            *self._zones(),
            *self._routers(),
            *map(_wire, self._pieces),
            *(part for node in self._drawing.nodes if node.title for part in self._node(node)),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    # ── Where everything is ─────────────────────────────────────────────────────────────────────────────────

    def _service_ends(self) -> Iterator[int]:
        """Where functions end, and lines to ENIs."""
        for band in self._bands.entries:
            yield from (self._boxes[name].y + self._boxes[name].height for name in band.far)
            yield from (self._row(name) for name in band.near)

    def _box(self, node: Node) -> _Box:
        y = self._tops[node.name] + _HEAD
        return _Box(self._at.columns[node.column], y, self._widths[node.column], _height(node) - _GAP)

    def _aside(self, column: int, y: int) -> _Box:
        """The box of the resolver, below the router on which it hangs."""
        width = _width((self._drawing.resolver,))
        return _Box(column + _RAIL // 2 - width // 2, y, width, _height(self._drawing.resolver) - _GAP)

    def _row(self, name: str) -> int:
        return self._tops[name] + _HEAD + _ANCHOR

    def _behind(self, name: str) -> int:
        box = self._boxes[name]
        return box.x + box.width

    # ── What lies below ─────────────────────────────────────────────────────────────────────────────────────

    def _zones(self) -> Iterator[str]:
        low = self._height - _MARGIN
        yield _zone("service VPC", _MARGIN, self._at.zones[0][0], 8, low)
        end = self._vpc_end + 4 if self._drawing.egress else low
        for zone, (left, right) in zip(zones(self._drawing), self._at.zones, strict=True):
            vpcs = self._vpcs(zone)
            ends = [*(top - 8 for _, top in vpcs[1:]), end][: len(vpcs)]
            for (title, top), bottom in zip(vpcs, ends, strict=True):
                yield _zone(title, left + 14, right, top, bottom)
        if self._drawing.column("servers"):
            yield _zone("internet", self._at.zones[-1][1] + 14, self._at.end + 10, 8, low)

    def _vpcs(self, zone: tuple[str, ...]) -> list[tuple[str, int]]:
        """The titles of the VPCs of a zone, and where each begins; the only one whether anything is in it or not."""
        titles = []
        for vpc in self._drawing.clusters:
            tops = [self._tops[node.name] for node in self._drawing.column(*zone) if node.vpc == vpc.name]
            if tops or len(self._drawing.clusters) == 1:
                titles.append((vpc.title, min(tops, default=0) + 8))
        titles.sort(key=lambda vpc: vpc[1])
        return [(title, top if number else 8) for number, (title, top) in enumerate(titles)]

    def _routers(self) -> Iterator[str]:
        resolver = self._boxes[self._drawing.resolver.name]
        inside = self._drawing.resolver.subnet is not None
        for title, column, rows, leads in (
            (SERVICE_VPC, "enis", self._rails.service, not inside),
            (self._drawing.clusters[0].router, "exits", self._rails.vpc, inside),
        ):
            if not rows:
                continue
            x = self._at.gaps[column].router or 0
            top, bottom = rows[0] - _ANCHOR, max(rows) + _ANCHOR
            middle = x + _RAIL // 2
            if leads:
                yield f'<path class="wire asks" d="M{middle} {bottom}V{resolver.y}"/>'
            yield (
                f'<rect class="router" x="{x}" y="{top}" width="{_RAIL}" height="{bottom - top}" rx="6"/>'
                f'<text class="head" x="{middle}" y="{top - 5}">{title}</text>'
            )
        for node in self._drawing.column("leaving"):
            if inside and node.vpc == self._drawing.resolver.vpc:
                box = self._boxes[node.name]
                yield f'<path class="wire asks" d="M{box.x + box.width // 2} {box.y + box.height}V{resolver.y}"/>'

    # ── Nodes ───────────────────────────────────────────────────────────────────────────────────────────────

    def _node(self, node: Node) -> Iterator[str]:
        box = self._boxes[node.name]
        full = bool(node.occupancy and node.occupancy.full)
        classes = " ".join(("box", *(("later",) if node.later else ()), *(("over",) if full or node.dead else ())))
        yield f'<rect class="{classes}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="5"/>'
        y = box.y + _ANCHOR + 5
        yield f'<text class="name" x="{box.x + _PADDING}" y="{y}">{escape(node.title)}</text>'
        if node.occupancy is not None and node.occupancy.limit is not None:
            yield from _gauge(node.occupancy, box, y + 7)
            y += _GAUGE_HEIGHT + 5
        for line in (*node.lines, *node.labels):
            y += _LINE_HEIGHT
            word = "alarm" if line.startswith("FULL") or line.endswith(" refused") else "line"
            yield f'<text class="{word}" x="{box.x + _PADDING}" y="{y}">{escape(line)}</text>'
        if node.dead:
            x, row = self._stops[node.name], self._row(node.name)
            yield f'<path class="stop" d="M{x - 9} {row - 5}l10 10m0 -10l-10 10"/>'


def _zone(title: str, left: int, right: int, top: int, bottom: int) -> str:
    return (
        f'<rect class="zone" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" rx="8"/>'
        f'<text class="head" x="{(left + right) // 2}" y="{top + 18}">{escape(title)}</text>'
    )


def _gauge(occupancy: Occupancy, box: _Box, y: int) -> Iterator[str]:
    width = box.width - 2 * _PADDING
    filled = round(width * occupancy.share, 1)
    word = "full" if occupancy.full else "held"
    at = f'x="{box.x + _PADDING}" y="{y}" height="{_GAUGE_HEIGHT}" rx="3"'
    yield f'<rect class="room" {at} width="{width}"/><rect class="{word}" {at} width="{filled:g}"/>'


def _wire(piece: Piece) -> str:
    if piece.left == piece.right and piece.top == piece.bottom:
        return ""
    word = "wire later" if piece.dashed else "wire"
    return f'<path class="{word}" d="M{piece.left} {piece.top}L{piece.right} {piece.bottom}"/>'


def _height(node: Node) -> int:
    """The height of a node's box and of the gap below it."""
    has_limit = node.occupancy is not None and node.occupancy.limit is not None
    gauge = _GAUGE_HEIGHT + 5 if has_limit else 0
    return 2 * _ANCHOR + gauge + _LINE_HEIGHT * len((*node.lines, *node.labels)) + _GAP - (4 if node.lines else 0)


def _width(nodes: Iterable[Node]) -> int:
    """What the widest of them needs."""
    widths = [
        max(len(node.title) * _TITLE_GLYPH, *(len(line) * _LINE_GLYPH for line in ("", *node.lines, *node.labels)))
        for node in nodes
    ]
    return int(max(widths, default=0)) + 2 * _PADDING


def _style() -> str:
    """Everything is said of `.lab-graph`, so that the page around it stays as it is."""
    light, dark = (
        ".lab-graph{" + "".join(f"--lg-{name}:{value};" for name, value in colours.items()) + "}"
        for colours in (_LIGHT, _DARK)
    )

    def colour(name: str) -> str:
        return f"var(--lab-graph-{name},var(--lg-{name}))"

    rules = {
        "": 'font-family:system-ui,-apple-system,"Segoe UI",sans-serif;max-width:100%;height:auto;'
        "print-color-adjust:exact;-webkit-print-color-adjust:exact",
        " text": f"fill:{colour('ink')};font-size:{_LINE_PX}px",
        " .name": f"font-size:{_TITLE_PX}px;font-weight:600",
        " .head": f"fill:{colour('soft')};text-anchor:middle;font-weight:600",
        " .line": "font-variant-numeric:tabular-nums",
        " .alarm": f"fill:{colour('full')};font-weight:700",
        " .zone": f"fill:{colour('zone')};stroke:{colour('edge')}",
        " .box": f"fill:{colour('box')};stroke:{colour('line')}",
        " .box.later": "stroke-dasharray:4 3",
        " .box.over": f"stroke:{colour('full')};stroke-width:2",
        " .router": f"fill:{colour('edge')};stroke:none",
        " .wire": f"stroke:{colour('line')};stroke-width:2;fill:none;stroke-linecap:square",
        " .wire.later": "stroke-dasharray:4 4;stroke-linecap:butt",
        " .wire.asks": "stroke-dasharray:2 3",
        " .stop": f"stroke:{colour('full')};stroke-width:2.5;fill:none",
        " .room": f"fill:{colour('edge')}",
        " .held": f"fill:{colour('held')}",
        " .full": f"fill:{colour('full')}",
    }
    said = "".join(f".lab-graph{selector}{{{what}}}" for selector, what in rules.items())
    return f"{light}@media screen and (prefers-color-scheme:dark){{{dark}}}{said}"
