"""What can be changed where connections are lost: each change as a topology, the smallest first. Pure.

Whether a change helps is not known here: `lab.diagnosis.remedies` asks prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.diagnosis.drops import opened
from lab.nodes.proposals import Case, Proposal, Size, more_room, proposals_of_kinds

__all__ = ["proposals"]


def proposals(case: Case) -> list[Proposal]:
    """A way through what drops packets whatever the limits, and what the node kinds propose."""
    proposed = [*_way_through(case), *_more_room(case), *proposals_of_kinds(case)]
    return sorted(proposed, key=lambda proposal: proposal.size)


def _way_through(case: Case) -> Iterator[Proposal]:
    """One change that opens every missing route and every firewall rule on the paths."""
    ends = {end.sentence: (path.eni, end) for path in case.paths if path.eni and (end := path.dead_end or path.doubt)}
    if not ends:
        return
    topology, changes = case.topology, []
    for eni, end in ends.values():
        passable = opened(topology, eni, end)
        if passable is None:
            note = f"{end.sentence}, and no NAT gateway is there"
            yield Proposal("a way through", end.sentence, None, Size.RULE, note=note)
            return
        topology, change = passable
        changes.append(change)
    yield Proposal("a way through where connections end whatever the limits", " ".join(changes), topology, Size.RULE)


def _more_room(case: Case) -> Iterator[Proposal]:
    """One more node or address of the kind whose limit binds, of each such kind alone and of two kinds together."""
    for first in more_room(case.topology, case):
        yield first
        for second in more_room(first.topology, case) if first.topology else ():
            if second.topology and second.size > first.size:
                what, change = f"{first.what} and {second.what}", f"{first.change}; {second.change}"
                yield replace(second, what=what, change=change, size=Size.TWO_CHANGES)
