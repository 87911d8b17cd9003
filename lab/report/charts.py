"""What a run's samples and series say, as lines and bars over time. Pure; nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from lab.metrics.numbers import COUNTS
from lab.nodes.kind import NodeKind
from lab.nodes.registry import KINDS, kind_of
from lab.report.clock import Clock, bar_width_s, clock_of, per_bar
from lab.runs import Run
from lab.slots.limiter import Limiter

__all__ = ["Chart", "Line", "Panel", "charts_of", "lasts_s"]

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers over time: seconds since the burst began, and the value."""

    name: str
    points: Points
    role: str = ""
    """Its colour and dashes by what it means: `good`, `bad`, `muted`, `first`; otherwise by its place."""

    @property
    def highest(self) -> float:
        """The highest value; 0 where there are no points."""
        return max((value for _, value in self.points), default=0.0)


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines, or bars upon each other, on the same axes."""

    title: str
    unit: str
    """The unit of its values: the name of their axis."""
    lines: tuple[Line, ...]
    limits: tuple[float, ...] = ()
    shape: Literal["lines", "bars", "stack"] = "lines"
    """Bars stand beside each other, or upon each other."""

    @property
    def highest(self) -> float:
        """The highest value, limits included."""
        if self.shape != "stack":
            return max((*(line.highest for line in self.lines), *self.limits), default=0.0)
        sums = zip(*(line.points for line in self.lines), strict=True)
        return max((sum(value for _, value in bar) for bar in sums), default=0.0)


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure: panels above each other, which share their time."""

    kind: str
    """The same of the same figure in every run: its file's name, and what stands side by side."""
    title: str
    note: str
    """What it shows, in a sentence."""
    panels: tuple[Panel, ...]

    @property
    def words(self) -> str:
        """The figure's text alternative, for screen readers: the numbers that matter."""
        return f"{self.title}. " + " ".join(_said(panel) for panel in self.panels)


def charts_of(run: Run, bar_s: int | None = None) -> tuple[Chart, ...]:
    """All figures of a run, those left out for which nothing was counted.

    A bar sums up so many seconds; as many as fit the run (`bar_width_s`) unless it is to stand beside another's.
    """
    clock, bar_s = clock_of(run), bar_s or bar_width_s(run)
    charts = (
        _clients(run),
        *(_occupancy(run, clock, kind) for kind in KINDS if not kind.has_cloudwatch),
        *_cloudwatch(run, clock, bar_s),
        _refusals(run, clock, bar_s),
        *(_occupancy(run, clock, kind) for kind in KINDS if kind.has_cloudwatch),
    )
    return tuple(chart for chart in charts if chart is not None)


def lasts_s(charts: Iterable[Chart]) -> float:
    """When the last of them ends."""
    return max((line.points[-1][0] for line in _lines(charts) if line.points), default=0.0)


def _lines(charts: Iterable[Chart]) -> Iterator[Line]:
    for chart in charts:
        for panel in chart.panels:
            yield from panel.lines


def _said(panel: Panel) -> str:
    most = "at most" if panel.shape == "lines" else f"at most {panel.unit}"
    said = [f"{line.name}: {line.highest:,.0f} {most}" for line in panel.lines]
    said += [f"limit: {limit:,.0f}" for limit in panel.limits]
    return f"{panel.title}: {'; '.join(said)}."


def _on_the_way(run: Run) -> list[Limiter]:
    """The limiters of the burst's function: the lab may have limiters of others."""
    nodes = {limit.node for limit in run.result.limits}
    return [limiter for limiter in run.limiters if limiter.node in nodes]


# ── The clients' account ────────────────────────────────────────────────────────────────────────────────────


def _clients(run: Run) -> Chart | None:
    series = run.result.series
    if not series:
        return None

    lines = [
        Line("attempted", tuple((moment.t_s, moment.attempted) for moment in series), "muted"),
        Line("established", tuple((moment.t_s, moment.established) for moment in series), "good"),
        Line("timed out", tuple((moment.t_s, moment.timed_out) for moment in series), "bad"),
    ]
    if any(moment.open != moment.established for moment in series):
        lines.append(Line("open", tuple((moment.t_s, moment.open) for moment in series), "first"))
    flows = "Connections" if run.result.protocol == "tcp" else "UDP flows"
    note = f"{flows} so far: attempted, established, timed out."
    return Chart("clients", "What the clients see", note, (Panel(flows, flows.lower(), tuple(lines)),))


# ── What holds a slot ───────────────────────────────────────────────────────────────────────────────────────


def _occupancy(run: Run, clock: Clock, kind: NodeKind) -> Chart | None:
    limiters = [limiter for limiter in _on_the_way(run) if limiter.kind == kind.name]
    lines = [(limiter, _held(run, clock, limiter)) for limiter in limiters]
    used = [pair for pair in lines if pair[1].highest] or [pair for pair in lines if pair[0].protocol != "udp"]
    used = [(limiter, line) for limiter, line in used if line.points]
    if kind.figure is None or not used:
        return None
    named = _distinct([limiter for limiter, _ in used])
    shown = tuple(Line(name, line.points) for name, (_, line) in zip(named, used, strict=True))
    limits = tuple(sorted({float(limiter.limit) for limiter, _ in used}))
    panel = Panel("Connections", "connections", shown, limits)
    return Chart(kind.figure.name, kind.figure.title, kind.figure.note, (panel,))


def _held(run: Run, clock: Clock, limiter: Limiter) -> Line:
    """The slots of one limiter at each sample that knows them."""
    points = (
        (clock.t_s(sample), node.held.get(limiter.slots, 0))
        for sample in run.samples
        if (node := sample.nodes.get(limiter.place)) is not None
    )
    return Line(limiter.node, tuple(points))


def _distinct(limiters: Sequence[Limiter]) -> list[str]:
    """A short name for each: node or address, then of destination and protocol what tells it from the others."""

    def differ(name: str) -> bool:
        return len({getattr(limiter, name) for limiter in limiters}) > 1

    nodes, destinations, protocols = map(differ, ("node", "towards", "protocol"))
    names = (
        (
            limiter.node if nodes or limiter.share is None else None,
            limiter.share,
            limiter.towards if destinations else None,
            limiter.protocol if protocols else None,
        )
        for limiter in limiters
    )
    return [" ".join(filter(None, words)) for words in names]


# ── What is counted ─────────────────────────────────────────────────────────────────────────────────────────


def _cloudwatch(run: Run, clock: Clock, bar_s: int) -> Iterator[Chart]:
    """The article's figure 2 for each NAT gateway, in CloudWatch's names."""
    counted = (limiter.node for limiter in _on_the_way(run) if kind_of(limiter.kind).has_cloudwatch)
    gateways = list(dict.fromkeys(counted))
    every = _every(bar_s)
    for index, node in enumerate(gateways):
        known = [(clock.t_s(sample), sample.nodes[node]) for sample in run.samples if node in sample.nodes]
        if not known:
            continue
        per = partial(per_bar, run, clock, bar_s, (node,))
        active = Line("ActiveConnectionCount", tuple((t_s, float(taken.active)) for t_s, taken in known), "first")
        attempts = (
            Line("ConnectionAttemptCount", per(COUNTS["ConnectionAttemptCount"]), "muted"),
            Line("ConnectionEstablishedCount", per(COUNTS["ConnectionEstablishedCount"]), "good"),
        )
        errors = Line("ErrorPortAllocation", per(COUNTS["ErrorPortAllocation"]), "bad")
        yield Chart(
            "nat-gateway" if index == 0 else f"nat-gateway-{index + 1}",
            "What CloudWatch shows" if len(gateways) == 1 else f"What CloudWatch shows of {node}",
            f"The NAT gateway's metrics in AWS's names, {every}; CloudWatch has one value a minute.",
            (
                Panel("ActiveConnectionCount", "connections", (active,)),
                Panel("Attempts and connections established", every, attempts, shape="bars"),
                Panel("ErrorPortAllocation", every, (errors,), shape="bars"),
            ),
        )


def _refusals(run: Run, clock: Clock, bar_s: int) -> Chart | None:
    """SYNs that a limiter dropped: those of new connections, and those that came again."""
    nodes = {limiter.place for limiter in _on_the_way(run)}
    if not run.samples or not nodes:
        return None
    what = "SYNs" if run.result.protocol == "tcp" else "datagrams"
    per = partial(per_bar, run, clock, bar_s, nodes)
    lines = (
        Line(f"first {what}", per(lambda taken: taken.refused_connections), "first"),
        Line("retransmissions", per(lambda taken: taken.refused_packets - taken.refused_connections), "bad"),
    )
    title = "SYN retransmissions" if run.result.protocol == "tcp" else "Datagrams refused"
    every = _every(bar_s)
    note = f"What a limiter dropped {every}: the first {what} of connections, and those that came again."
    return Chart("syn", title, note, (Panel(f"Dropped {what}", every, lines, shape="stack"),))


def _every(bar_s: int) -> str:
    return "each second" if bar_s == 1 else f"each {bar_s:,} s"
