"""A view of a lab at one moment: how full its limiters are, and what has happened in the last second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from lab.graph import Occupancy
from lab.nodes.registry import kind_of
from lab.observe.samples import Sample
from lab.plan.objects import Plan
from lab.slots import counters as counting
from lab.slots.fill import Fill
from lab.slots.limiter import Limiter
from lab.watch.occupancy import Level, levels, occupancies

__all__ = ["Gauge", "Rates", "View", "Window", "view"]

_RATES_OVER_S = 1.0
"""Samples closer together than this give no rate: it would be noise."""


@dataclass(frozen=True, slots=True)
class Rates:
    """TCP connections that were given a slot, and connections that were refused one, per second."""

    new_per_s: float | None
    """None where it is not counted by itself."""
    refused_per_s: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """One bar: a node, or one of the limits of a node that has several."""

    label: str
    occupancy: Occupancy
    rates: Rates
    part: bool = False
    """Whether it is one of several of the node above."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that `lab watch` shows."""

    lab: str
    at_s: float
    """When the newest sample was taken, in Unix time."""
    rates: Rates
    """New connections through all ENIs, and what was refused anywhere."""
    gauges: tuple[Gauge, ...]
    nodes: dict[str, Occupancy] = field(default_factory=dict)
    """Node → what it holds, for the drawing."""
    verdict: str | None = None
    """The verdict on the last burst, in one line."""
    impairments: tuple[str, ...] = ()
    states: tuple[tuple[str, Fill], ...] = ()
    """What limiters hold of which not all is established: node and Elastic IP, and the fill."""


class Window:
    """The samples of the last second, of one lab."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> None:
        """The newest one; those that nothing is compared with any more go."""
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at_s <= sample.at_s - _RATES_OVER_S:  # noqa: PLR2004
            self._samples.popleft()

    @property
    def before(self) -> Sample:
        """What the newest one is compared with."""
        return self._samples[0]

    @property
    def now(self) -> Sample:
        """The newest sample."""
        return self._samples[-1]


def view(
    plan: Plan,
    window: Window,
    verdict: str | None = None,
    impairments: tuple[str, ...] = (),
    states: tuple[tuple[str, Fill], ...] = (),
) -> View:
    """What is to be shown now."""
    nodes = occupancies(plan, window.now)
    rates = {name: _of_node(name, window) for name in window.now.nodes}
    enis = [node.node for node in plan.nat_nodes if kind_of(node.kind).sees_environments]
    return View(
        lab=plan.lab,
        at_s=window.now.at_s,
        rates=Rates(
            sum(rates[name].new_per_s or 0 for name in enis if name in rates),
            sum(rate.refused_per_s for rate in rates.values()),
        ),
        gauges=tuple(_gauges(plan, window, nodes, rates)),
        nodes=nodes,
        verdict=verdict,
        impairments=impairments,
        states=states,
    )


def _gauges(plan: Plan, window: Window, nodes: dict[str, Occupancy], rates: dict[str, Rates]) -> list[Gauge]:
    of_nodes: dict[str, list[Level]] = {}
    for level in levels(plan, window.now):
        of_nodes.setdefault(level.limiter.node, []).append(level)
    gauges = []
    for name, occupancy in nodes.items():
        of = [level for level in of_nodes.get(name, ()) if level.limiter.protocol != "udp" or not level.quiet]
        own = rates[name] if name in rates else _of_limiter(of[0].limiter, window)
        gauges.append(Gauge(name, occupancy, own))
        if len(of) > 1:
            gauges += [
                Gauge(_called(level.limiter, of), level.occupancy, _of_limiter(level.limiter, window), part=True)
                for level in of
            ]
    return gauges


def _called(limiter: Limiter, among: list[Level]) -> str:
    """Its client or Elastic IP, its destination where there are several, and its protocol where that is not TCP."""
    several = len({level.limiter.towards for level in among}) > 1 or limiter.share is None
    destination = f"→{limiter.towards}" if several and limiter.towards else ""
    words = (
        f"{limiter.share or ''}{destination}",
        "udp" if limiter.protocol == "udp" else None,
        "draining" if limiter.drains else None,
    )
    return " ".join(word for word in words if word)


def _of_node(name: str, window: Window) -> Rates:
    now, before = window.now.nodes[name], window.before.nodes.get(name)
    if before is None:
        return Rates(0.0, 0.0)
    new = now.counters.get(counting.ADMITTED, 0) - before.counters.get(counting.ADMITTED, 0)
    return Rates(_per_s(new, window), _per_s(now.refused_connections - before.refused_connections, window))


def _of_limiter(limiter: Limiter, window: Window) -> Rates:
    now, before = (sample.nodes.get(limiter.place) for sample in (window.now, window.before))
    if now is None or before is None:
        return Rates(None, 0.0)
    name = limiter.refused_connections
    return Rates(None, _per_s(now.counters.get(name, 0) - before.counters.get(name, 0), window))


def _per_s(count: int, window: Window) -> float:
    """Per second; a node that was made anew counts from 0, which is no rate."""
    took_s = window.now.at_s - window.before.at_s
    return max(0, count) / took_s if took_s > 0 else 0.0
