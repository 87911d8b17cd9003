"""A lab that is looked at again and again, which `lab up` may change and `lab down` may remove meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import time
from typing import NamedTuple, Protocol

from lab.errors import KernelError, LabError
from lab.graph import Drawing, draw
from lab.impair.faults import Impairment
from lab.kernel.netns import call_in
from lab.kernel.worker import Worker
from lab.observe.readings import Reading
from lab.observe.sampling import Sampler
from lab.observe.seldom import Seldom
from lab.plan.objects import Plan
from lab.slots.fill import Fill
from lab.topology import Topology
from lab.watch.view import View, Window, view

__all__ = ["Seen", "Watched", "watching"]

_IMPAIRMENTS_S = 5.0
"""Between two looks at what is impaired: several netlink calls for each node."""
_VERDICT_S = 1.0
_STATES_S, _STATES_SHARE = 2.0, 0.02
"""Between two looks at what is half-open or closing, and which share of the time they may take."""
_GOES_WITHIN_S, _POLL_S = 10.0, 0.05
"""How long `down` may take from a lab's first namespace to its record."""


class _Lab(Protocol):
    @property
    def plan(self) -> Plan:
        """The plan that is applied now."""

    @property
    def topology(self) -> Topology:
        """The topology that is applied now."""

    @property
    def gone(self) -> bool:
        """Whether it has been taken down."""

    def readings_with_fills(self) -> Sequence[Reading]:
        """What holds the slots of every limiter."""

    def impairments(self) -> Sequence[Impairment]:
        """The faults that `lab impair` has set."""


class Seen(NamedTuple):
    """A lab at one moment: its numbers, and its drawing with them."""

    view: View
    drawing: Drawing


class Watched:
    """A lab that is being looked at; rates are those since the look before."""

    def __init__(self, lab: _Lab, verdict: Callable[[], str | None], visitor: Worker) -> None:
        """Take the first sample; `visitor` is a thread that goes into the lab's namespaces and comes back."""
        self._lab, self._visitor = lab, visitor
        self._verdict = Seldom(verdict, _VERDICT_S, time.monotonic)
        self._impairments = Seldom(self._read_impairments, _IMPAIRMENTS_S, time.monotonic)
        self._states = Seldom(self._read_states, _STATES_S, time.monotonic, _STATES_SHARE)
        self._begin()

    def look(self) -> Seen | None:
        """What is to be seen now; None when the lab has been taken down."""
        try:
            return None if self._lab.gone else self._look()
        except (KernelError, OSError):  # its namespaces go before its record does
            deadline = time.monotonic() + _GOES_WITHIN_S
            while not self._lab.gone:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            return None

    def _look(self) -> Seen:
        if self._lab.plan is not self._plan:
            self._begin()
        self._sample()
        shown = view(self._plan, self._window, self._verdict(), self._impairments(), self._states())
        return Seen(shown, draw(self._topology, shown.nodes))

    def _begin(self) -> None:
        self._plan, self._topology = self._lab.plan, self._lab.topology
        self._sampler = Sampler(self._plan.nat_nodes, slots_only=True)
        self._window = Window()
        self._sample()

    def _sample(self) -> None:
        self._window.add(self._visitor.run(self._sampler.take, call_in))

    def _read_states(self) -> tuple[tuple[str, Fill], ...]:
        try:
            read = [(reading.limiter, reading.fill) for reading in self._lab.readings_with_fills()]
        except (LabError, OSError):  # as below
            return ()
        return tuple(
            (" ".join(filter(None, (limiter.node, limiter.share))), fill)
            for limiter, fill in read
            if fill and fill.taken > fill.established
        )

    def _read_impairments(self) -> tuple[str, ...]:
        try:
            return tuple(
                f"{impairment.node} {impairment.interface}: {impairment.faults}"
                for impairment in self._lab.impairments()
            )
        except (LabError, OSError):  # the lab is changing, going, or has lost what is asked
            return ()


@contextmanager
def watching(lab: _Lab, verdict: Callable[[], str | None]) -> Iterator[Watched]:
    """Watch a lab until the block ends; `verdict`, a line that is shown with it, is asked once a second at most."""
    with Worker() as visitor:
        yield Watched(lab, verdict, visitor)
