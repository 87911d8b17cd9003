"""Apply the change of a lab that is up: make what is new, change what differs, remove what is over.

In this order, so that a refusal or an interrupt finds everything old still there: what was made and changed until then
is taken back. Removing comes last and is not interrupted; what fails there leaves a half-built lab, which `down`
takes away by a plan that has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import errno
from typing import Any

from lab.converge.change import Convergence, Wanted
from lab.converge.diff import Change, Difference, kept_port, removal, union
from lab.errors import KernelError
from lab.impair import apply as impair
from lab.interrupts import uninterrupted
from lab.kernel import nft, processes, rtnl, sysctl
from lab.kernel.apply import STEPS, Notice, Site, refusal_of, require_room, require_vacant
from lab.kernel.invoker import runnable
from lab.kernel.netns import refusals
from lab.kernel.state import Record, State
from lab.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    Certificate,
    ConntrackMax,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    Plan,
    Process,
    Route,
    Rule,
    Ruleset,
    Sysctl,
    VethPair,
)
from lab.slots.nft import sets_lost

__all__ = ["converge"]

_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)
"""What the kernel says of something that is not there: then it need not be removed."""


@dataclass(slots=True)
class _Progress:
    """What a change has made and changed so far, so that it can be taken back."""

    made: list[KernelObject] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)


def converge(
    state: State,
    record: Record,
    change: Convergence,
    wanted: Wanted,
    notice: Notice,
) -> None:
    """Change the lab of a record, and record its new plan and topology. Callers hold the lab's lock.

    KernelError when the kernel refuses a step; the lab is then as it was, or half built, and `notice` is told which.
    """
    old, new = change.old, change.new
    require_room(new)
    progress, vacant = _Progress(), False
    with Site(state, record, notice) as site:
        try:
            with state.locked():
                require_vacant(state, new, new_to=old)
                vacant = True
                record.begin_change(union(old, new), new, wanted.topology, wanted.text, wanted.scale)
            _make(site, change.difference, progress)
            _change(site, change.difference, progress, change.rebuilt)
        except BaseException:
            if vacant:  # or nothing is to be taken back
                with uninterrupted():
                    _take_back(site, old, progress, change.rebuilt)
            raise
        with uninterrupted(), _half_changed_unless_done(site, old.lab):
            _remove(site, change.difference.removed)
            record.settle()


@contextmanager
def _half_changed_unless_done(site: Site, lab: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        site.notice(f"lab {lab} is half changed; take it down, then up again: {runnable(f'lab down --lab {lab}')}")
        raise


def _make(site: Site, change_set: Difference, progress: _Progress) -> None:
    for item in change_set.added:
        progress.made.append(item)
        with refusal_of(item):
            STEPS[type(item)][0](site, item)
    linked = {port.namespace for item in change_set.added if isinstance(item, VethPair) for port in (item.a, item.b)}
    with refusal_of("every interface up"):
        rtnl.wait_until_up(site.namespaces, sorted(linked))
    site.await_processes()


def _change(site: Site, change_set: Difference, progress: _Progress, rebuilt: Mapping[str, frozenset[str]]) -> None:
    for change in change_set.changed:
        progress.changed.append(change)
        with refusal_of(change.new):
            _replace(site, change, rebuilt)
    site.await_processes()


def _replace(site: Site, change: Change, rebuilt: Mapping[str, frozenset[str]]) -> None:
    if isinstance(change.old, Ruleset) and isinstance(change.new, Ruleset):
        again = rebuilt.get(change.old.namespace, frozenset()) & change.old.table.sets.keys()
        nft.replace_ruleset(site.namespaces, change.old, change.new, again)
    else:
        _REPLACE[type(change.new)](site, change.old, change.new)


def _remove(site: Site, items: tuple[KernelObject, ...]) -> None:
    """Remove what is over; what is not there any more is no fault."""
    gone = {item.name for item in items if isinstance(item, Namespace)}
    with refusal_of("the processes of what goes ended"):
        processes.end(gone)
    for item in items:
        with refusal_of(item, "removing "):
            try:
                if isinstance(item, VethPair):
                    _remove_veth(site, item, gone)
                else:
                    _REMOVE[type(item)](site, item)
            except refusals() as refused:
                if not _is_gone(refused):
                    raise


def _is_gone(refused: Exception) -> bool:
    number = (
        refused.errno if isinstance(refused, OSError) else getattr(refused, "code", None)
    )  # pyroute2's NetlinkError
    return number in _GONE or "no interface with this name" in str(refused)


def _remove_veth(site: Site, pair: VethPair, gone: set[str]) -> None:
    port = kept_port(pair, gone)
    for end in (pair.a, pair.b):
        if end.namespace not in gone:
            with suppress(KernelError):  # it only tidies up
                impair.forget(site.namespaces, end.namespace, end.interface)
    if port is not None:
        rtnl.remove_veth(site.namespaces, port)


def _take_back(site: Site, old: Plan, progress: _Progress, rebuilt: Mapping[str, frozenset[str]]) -> None:
    """Undo a change that did not come to its end, and say how the lab is now."""
    lab = old.lab
    try:
        with _half_changed_unless_done(site, lab):
            site.namespaces.wait()
            site.give_up_processes()
            site.record.give_up_change()
            for change in reversed(progress.changed):
                with refusal_of(change.old):
                    _change_back(site, change)
            site.await_processes()
            _remove(site, removal(tuple(progress.made)))
            site.record.revert()
    except Exception as refused:  # noqa: BLE001 -- whatever it is, it is said, and why it was taken back is raised
        site.notice(str(refused))
        return
    forgot = any(_forgets(change, rebuilt) for change in progress.changed)  # sets are made again, but empty
    but = ", but for connections that the change had to break" if forgot else ""
    site.notice(f"what was changed is changed back: lab {lab} is as it was{but}")


def _change_back(site: Site, change: Change) -> None:
    """Undo one change. The last one may not have been made; changing back to what is there has no effect."""
    if isinstance(change.old, Ruleset) and isinstance(change.new, Ruleset):
        nft.restore_ruleset(site.namespaces, change.new, change.old)
    else:
        _REPLACE[type(change.new)](site, change.new, change.old)


def _forgets(change: Change, rebuilt: Mapping[str, frozenset[str]]) -> bool:
    old, new = change
    if not isinstance(old, Ruleset) or not isinstance(new, Ruleset):
        return False
    return bool(sets_lost(old.table, new.table) or rebuilt.get(old.namespace, frozenset()) & old.table.sets.keys())


def _restart(site: Site, old: Process, new: Process) -> None:
    processes.stop(old)
    STEPS[Process][0](site, new)


_REPLACE: dict[type, Callable[[Site, Any, Any], None]] = {
    ConntrackMax: lambda site, _, new: STEPS[ConntrackMax][0](site, new),
    Sysctl: lambda site, _, new: STEPS[Sysctl][0](site, new),
    Process: _restart,
    Neighbour: lambda site, _, new: rtnl.replace_neighbour(site.namespaces, new),
    Route: lambda site, _, new: rtnl.replace_route(site.namespaces, new),
    File: lambda site, _, new: STEPS[File][0](site, new),
    Certificate: lambda site, _, new: STEPS[Certificate][0](site, new),
}
"""Kinds of objects that can change in place, but for rulesets → how."""

_REMOVE: dict[type, Callable[[Site, Any], None]] = {
    Namespace: STEPS[Namespace][1],
    Sysctl: lambda site, item: sysctl.reset_sysctl(site.namespaces, item),
    Bridge: lambda site, item: rtnl.remove_bridge(site.namespaces, item),
    BridgePort: lambda site, item: rtnl.remove_bridge_port(site.namespaces, item),
    Address: lambda site, item: rtnl.remove_address(site.namespaces, item),
    Process: lambda _, item: processes.stop(item),
    Neighbour: lambda site, item: rtnl.remove_neighbour(site.namespaces, item),
    Route: lambda site, item: rtnl.remove_route(site.namespaces, item),
    Rule: lambda site, item: rtnl.remove_rule(site.namespaces, item),
    Ruleset: lambda site, item: nft.remove_ruleset(site.namespaces, item),
    File: STEPS[File][1],
    Certificate: STEPS[Certificate][1],
}
"""Kinds of objects, but for links → how they are removed from a lab that stays up."""
