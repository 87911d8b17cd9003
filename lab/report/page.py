"""One HTML file of one run or several: no script, nothing from elsewhere, readable on a phone, on a wall, on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.burst.options import facts_of
from lab.diagnosis.verdict import Verdict, judge
from lab.nodes.diagnosis import counted
from lab.report import facts
from lab.report.charts import Chart, charts_of, lasts_s
from lab.report.clock import bar_width_s
from lab.report.drawing import topology_svg
from lab.report.figures import Frame, Frames, inline_svg, picture
from lab.report.tables import tables
from lab.report.themes import DARK, LIGHT
from lab.runs import Run

__all__ = ["Picture", "page", "pictures"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as a file."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Shown:
    """A run as the page has it."""

    key: str
    """Tells its anchors and its figures' ids from others'."""
    name: str
    """What its column is called."""
    run: Run
    verdict: Verdict
    tone: str
    drawing: Markup
    charts: dict[str, Chart]
    """Kind of chart → the run's chart of it."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of the page."""

    name: str
    """The name of the run that it belongs to."""
    chart: Chart
    svg: Markup


@dataclass(frozen=True, slots=True)
class _Group:
    """The same figure of each run, side by side."""

    chart: Chart
    """The title and sentence of all: the chart of the first run that has one."""
    figures: tuple[_Figure, ...]


def page(runs: Sequence[Run]) -> str:
    """The HTML of a report on these runs, one or more; matplotlib must be there (`require_matplotlib`)."""
    shown = _shown(runs)
    environment = Environment(
        loader=PackageLoader("lab.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": _breakable, "whole": _whole}
    return environment.get_template("page.html.jinja").render(
        runs=shown,
        title=_title(shown),
        alike=all(run.load == runs[0].load for run in runs),
        comparison=facts.comparison(runs) if len(runs) > 1 else (),
        groups=list(_groups(shown)),
        facts=facts,
        facts_of=facts_of,
        tables=tables,
        light=LIGHT,
        dark=DARK,
    )


def _breakable(text: str) -> Markup:
    """With places where `ErrorPortAllocation` may be broken on a narrow page."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z][a-z]+[A-Z]|Allocation|Count)", text))


def _whole(text: str) -> Markup:
    """With names such as `eni-private-a` in one line each."""
    parts = re.split(r"([\w.]+(?:-[\w.]+)+)", text)
    return Markup("").join(
        Markup('<span class="whole">{}</span>').format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def pictures(runs: Sequence[Run]) -> Iterator[Picture]:
    """Every figure as PNG and as SVG, with a title, its axes as on the page."""
    shown = _shown(runs)
    frames, until_s = _frames(shown), _until_s(shown)
    for shown_run in shown:
        for chart in shown_run.charts.values():
            for suffix in ("png", "svg"):
                content = picture(chart, frames, until_s, f"{chart.title}: {shown_run.name}", suffix)
                yield Picture(f"{shown_run.run.id}-{chart.kind}.{suffix}", content)


def _shown(runs: Sequence[Run]) -> tuple[_Shown, ...]:
    names = [run.result.lab for run in runs]
    if len(set(names)) < len(names):
        names = [run.id for run in runs]
    bar_s = max(map(bar_width_s, runs))
    return tuple(
        _Shown(
            key=f"run{number}",
            name=name,
            run=run,
            verdict=judge(run.result),
            tone=facts.tone(run.result),
            drawing=Markup(topology_svg(run)),  # noqa: S704 - it escapes texts
            charts={chart.kind: chart for chart in charts_of(run, bar_s)},
        )
        for number, (name, run) in enumerate(zip(names, runs, strict=True), 1)
    )


def _title(shown: Sequence[_Shown]) -> str:
    if len(shown) > 1:
        return f"{len(shown)} runs side by side"
    result = shown[0].run.result
    return f"{counted(result.offered, 'invocation')} in lab {result.lab}"


def _groups(shown: Sequence[_Shown]) -> Iterator[_Group]:
    frames, until_s = _frames(shown), _until_s(shown)
    for kind in dict.fromkeys(kind for shown_run in shown for kind in shown_run.charts):
        drawn = [
            (shown_run.name, chart, inline_svg(chart, frames, until_s, f"{shown_run.key}-{kind}"))
            for shown_run in shown
            if (chart := shown_run.charts.get(kind))
        ]
        # matplotlib escapes texts in its SVG.
        yield _Group(drawn[0][1], tuple(_Figure(name, chart, Markup(svg)) for name, chart, svg in drawn))  # noqa: S704


def _until_s(shown: Sequence[_Shown]) -> float:
    return max((lasts_s(shown_run.charts.values()) for shown_run in shown), default=0.0)


def _frames(shown: Sequence[_Shown]) -> Frames:
    frames: dict[tuple[str, int], Frame] = {}
    for shown_run in shown:
        for kind, chart in shown_run.charts.items():
            for index, panel in enumerate(chart.panels):
                frames[kind, index] = frames.get((kind, index), Frame()).around(panel)
    return frames
