"""Figures from charts, with matplotlib: as SVG text for the page, as PNG and SVG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import pairwise
from math import ceil
import re

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator

from lab.report.charts import Chart, Panel
from lab.report.themes import HATCHES, LIGHT, SENTINELS, Palette, role_of

__all__ = ["Frame", "Frames", "inline_svg", "picture"]

_WIDTH_IN = 4.4
_PANEL_IN, _BETWEEN_IN, _LEGEND_IN, _TIME_IN, _TITLE_IN = 1.35, 0.2, 0.24, 0.42, 0.3
"""Heights: of a panel's axes, below it, of its title and of a legend, of the time's axis, of the title of a file."""
_LEFT_IN, _RIGHT_IN, _UNIT_IN = 0.86, 0.14, 0.7
"""Left of the axes there is room for 1,000,000 and, so far away from them, the unit."""
_DOTS_PER_INCH = 200
_POINTS_PER_INCH = 72
_LINE_PT, _NESTED_PT = 1.7, 3.2
_BAR_SHARE, _HALF_BAR_S = 0.8, 0.5
_MINUTES_FROM_S = 600
_MINUTES_APART = (2, 5, 10, 30, 60, 120, 240, 480, 960)
_ROOM = 1.12
"""Free height above the highest value."""
_MOST_TIMES = 7
_LEGEND_COLUMNS = ((9, 4), (11, 3), (22, 2))
"""Characters of the longest name, at most → how many of such names fit the width."""
_MOST_NAMED = 8
"""More lines than that are drawn alike."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What panels have in common that stand side by side, so that they can be compared."""

    highest: float = 0.0
    legend_rows: int = 0

    def around(self, panel: Panel) -> Frame:
        """One that has room for this panel, too."""
        return Frame(max(self.highest, panel.highest), max(self.legend_rows, _legend_rows(panel)))


Frames = Mapping[tuple[str, int], Frame]
"""(kind of chart, number of its panel) → the frame that all runs share."""


def inline_svg(chart: Chart, frames: Frames, lasts_s: float, key: str) -> str:
    """The figure as an SVG element for a page whose style has its colours; `key` makes its ids unique there."""
    with _settings(SENTINELS, fonttype="none"):
        figure = _draw(chart, frames, lasts_s, SENTINELS)
        text = _printed(figure, "svg").decode()
    return _within_page(text, chart, key)


def picture(chart: Chart, frames: Frames, lasts_s: float, title: str, suffix: str) -> bytes:
    """The figure as a file's content, light, with a title; `suffix` is png or svg."""
    with _settings(LIGHT, fonttype="path"):
        return _printed(_draw(chart, frames, lasts_s, LIGHT, title), suffix)


@contextmanager
def _settings(palette: Palette, fonttype: str) -> Iterator[None]:
    """Matplotlib's own settings but for these, whatever the user has set."""
    ink, faint, rule = palette["ink"], palette["faint"], palette["rule"]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "axes.axisbelow": True,
                "axes.edgecolor": faint,
                "axes.labelcolor": faint,
                "axes.linewidth": 0.7,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "axes.titlecolor": ink,
                "axes.titlelocation": "left",
                "axes.titlesize": 9.5,
                "axes.titleweight": "bold",
                "axes.labelsize": 8.5,
                "font.size": 9,
                "grid.color": rule,
                "grid.linewidth": 0.6,
                "hatch.linewidth": 0.7,
                "legend.fontsize": 8.5,
                "legend.labelcolor": ink,
                "path.simplify_threshold": 0.3,
                "svg.fonttype": fonttype,
                "svg.hashsalt": "lab",
                "text.color": ink,
                "text.parse_math": False,
                "xtick.color": faint,
                "xtick.labelsize": 8.5,
                "ytick.color": faint,
                "ytick.labelsize": 8.5,
            }
        )
        yield


def _draw(chart: Chart, frames: Frames, lasts_s: float, palette: Palette, title: str = "") -> Figure:
    several = len(chart.panels) > 1
    each_frame = [frames.get((chart.kind, index), Frame()).around(panel) for index, panel in enumerate(chart.panels)]
    tops_in = [_LEGEND_IN * (frame.legend_rows or (1 if several else 0.4)) for frame in each_frame]
    title_in = _TITLE_IN if title else 0.0
    panels_in = _PANEL_IN * len(chart.panels) + _BETWEEN_IN * (len(chart.panels) - 1)
    height_in = title_in + sum(tops_in) + panels_in + _TIME_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="none" if not title else palette["paper"])
    if title:
        figure.text(0.1 / _WIDTH_IN, 1 - 0.1 / height_in, title, va="top", fontsize=10, fontweight="bold")
    y_in = height_in - title_in
    width = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / _WIDTH_IN
    for index, (panel, top_in) in enumerate(zip(chart.panels, tops_in, strict=True)):
        y_in -= top_in + _PANEL_IN
        axes = figure.add_axes((_LEFT_IN / _WIDTH_IN, y_in / height_in, width, _PANEL_IN / height_in))
        axes.set_facecolor("none")
        y_in -= _BETWEEN_IN
        title = panel.title if several and len(panel.lines) == 1 else ""
        _draw_panel(axes, panel, palette, title=title, highest=each_frame[index].highest)
        _draw_time(axes, lasts_s, named=index == len(chart.panels) - 1)
    return figure


def _draw_panel(axes: Axes, panel: Panel, palette: Palette, *, title: str, highest: float) -> None:
    (_draw_lines if panel.shape == "lines" else _draw_bars)(axes, panel, palette)
    for limit in panel.limits:
        axes.axhline(limit, color=palette["ink"], linewidth=0.9, linestyle=(0, (6, 3)), zorder=1.5)
        axes.annotate(
            f"limit {limit:,.0f}", (1, limit), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="bottom", fontsize=8.5,
        )  # fmt: skip
    axes.set_ylim(0, highest * _ROOM or 1)
    axes.set_ylabel(panel.unit)
    axes.yaxis.set_label_coords(-_UNIT_IN / (_WIDTH_IN - _LEFT_IN - _RIGHT_IN), 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y")
    axes.tick_params(length=3)
    axes.set_title(title, pad=4 + _LEGEND_IN * _POINTS_PER_INCH * _legend_rows(panel))
    if _legend_rows(panel):
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=_legend_columns(panel),
            frameon=False,
            borderpad=0.1,
            borderaxespad=0.2,
            labelspacing=0.25,
            handlelength=2.2,
            handletextpad=0.5,
            columnspacing=1.2,
        )
    if not any(line.highest for line in panel.lines):
        axes.text(0.5, 0.5, "0 throughout", transform=axes.transAxes, ha="center", va="center", color=palette["faint"])


def _draw_lines(axes: Axes, panel: Panel, palette: Palette) -> None:
    named = len(panel.lines) <= _MOST_NAMED
    for index, line in enumerate(panel.lines):
        colour, dashes = role_of(line.role, index if named else 0)
        name = line.name if named else f"{len(panel.lines)} of them" if index == 0 else "_"
        times_s, values = zip(*line.points, strict=True) if line.points else ((), ())
        # Where lines coincide, those drawn first show on both sides of the others.
        width_pt = _LINE_PT + (0 if line.role else _NESTED_PT * (1 - (index + 1) / len(panel.lines)))
        axes.plot(times_s, values, color=palette[colour], linestyle=dashes, linewidth=width_pt, label=name)


def _draw_bars(axes: Axes, panel: Panel, palette: Palette) -> None:
    """Beside each other, or each upon those before it."""
    times_s = [t_s for t_s, _ in panel.lines[0].points]
    width_s = _BAR_SHARE * min((later - earlier for earlier, later in pairwise(times_s)), default=1.0)
    beside = 1 if panel.shape == "stack" else len(panel.lines)
    below = [0.0] * len(times_s)
    for index, line in enumerate(panel.lines):
        colour, _ = role_of(line.role, index)
        values = [value for _, value in line.points]
        shift_s = 0.0 if beside == 1 else width_s * ((index + 0.5) / beside - 0.5)
        axes.bar(
            [t_s + shift_s for t_s in times_s], values, width_s / beside, below,
            color=palette[colour], edgecolor=palette["paper"], linewidth=0.4, label=line.name,
            hatch=HATCHES.get(line.role),
        )  # fmt: skip
        if panel.shape == "stack":
            below = [sum(pair) for pair in zip(below, values, strict=True)]


def _draw_time(axes: Axes, lasts_s: float, *, named: bool) -> None:
    minutes = lasts_s > _MINUTES_FROM_S
    unit_s = 60 if minutes else 1
    most = max(lasts_s, 1.0)
    axes.set_xlim(-max(0.02 * most, _HALF_BAR_S), most * 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit_s:,.10g}" if value >= 0 else ""))
    seconds = MaxNLocator(_MOST_TIMES, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(_whole_minutes(lasts_s) if minutes else seconds)
    if named:
        axes.set_xlabel("minutes since the burst began" if minutes else "seconds since the burst began")
    else:
        axes.tick_params(axis="x", labelbottom=False)


def _whole_minutes(lasts_s: float) -> Locator:
    apart_min = next(
        (minutes for minutes in _MINUTES_APART if lasts_s / 60 / minutes <= _MOST_TIMES), _MINUTES_APART[-1]
    )
    return MultipleLocator(apart_min * 60)


def _legend_columns(panel: Panel) -> int:
    longest = max(len(line.name) for line in panel.lines)
    return next((columns for most, columns in _LEGEND_COLUMNS if longest <= most), 1)


def _legend_rows(panel: Panel) -> int:
    """A single line is named by its panel's title."""
    count = len(panel.lines)
    return 0 if count <= 1 else 1 if count > _MOST_NAMED else ceil(count / _legend_columns(panel))


def _printed(figure: Figure, suffix: str) -> bytes:
    file = BytesIO()
    canvas: FigureCanvasBase = FigureCanvasSVG(figure) if suffix == "svg" else FigureCanvasAgg(figure)
    # Without the date, the same run gives the same file.
    metadata = {"Date": None} if suffix == "svg" else {}
    canvas.print_figure(file, format=suffix, dpi=_DOTS_PER_INCH if suffix == "png" else None, metadata=metadata)
    return file.getvalue()


# ── SVG within a page ───────────────────────────────────────────────────────────────────────────────────────

_OPENING = re.compile(r'<svg [^>]*viewBox="(?P<box>[^"]*)"[^>]*>')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_IDS = re.compile(r'(?P<before>\bid="|url\(#|href="#)')
_FONT = re.compile(r"font-family: [^;\"]*;?\s*")
_STYLE = re.compile(r"<style[^>]*>.*?</style>")
_TURNED = re.compile(r' transform="rotate\(-0 [^)]*\)"')


def _within_page(text: str, chart: Chart, key: str) -> str:
    """Matplotlib's document as an element: with the page's colours and font, and ids of its own."""
    text = text[text.index("<svg ") :]
    for needless in (_METADATA, _STYLE, _FONT, _TURNED):
        text = needless.sub("", text)
    text = _OPENING.sub(
        lambda opening: f'<svg class="plot" role="img" aria-label="{escape(chart.words)}" viewBox="{opening["box"]}">',
        text,
        count=1,
    )
    text = text.replace("xlink:href", "href")
    text = _IDS.sub(lambda reference: f"{reference['before']}{key}-", text)
    for name, sentinel in SENTINELS.items():
        text = text.replace(f'fill="{sentinel}"', f'style="fill: {sentinel}"')  # variables are for styles only
        text = text.replace(sentinel, f"var(--{name})")
    return text
