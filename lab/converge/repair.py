"""Mend a lab that is up: what its plan has and the kernel has not is made again, by the steps that made it first.

Each step leads to what the plan has, so one that was interrupted can be begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
import os
import signal
from typing import Any

from lab.errors import KernelError
from lab.impair import apply as impair
from lab.kernel import nft, processes, rtnl
from lab.kernel.apply import STEPS, Notice, Site, refusal_of
from lab.kernel.invoker import runnable
from lab.kernel.losses import Loss, losses, told
from lab.kernel.netns import NETNS_DIRECTORY, exists, identity_of, refusals
from lab.kernel.remains import unnamed_namespaces
from lab.kernel.state import Record, State
from lab.plan.objects import KernelObject, Namespace, Neighbour, Plan, Process, Route, Rule, Ruleset, VethPair

__all__ = ["repair"]


def repair(state: State, record: Record, plan: Plan, notice: Notice) -> bool:
    """Make what is lost again, and say what, and what that costs; whether anything was. Callers hold the lab's lock.

    KernelError where that is refused or does not help: the lab must then be taken down, then up again.
    """
    found = losses(plan)
    if not found:
        return False
    words = ", ".join(told(found))
    with _way_out(plan.lab):
        with Site(state, record, notice) as site:
            _clear_the_way(site, plan, found)
            again = losses(plan)
            _make(site, plan, again)
        _require_whole(plan)
    notice(f"mended: {words}")
    for cost in _costs(plan, [*found, *again]):
        notice(cost)
    return True


@contextmanager
def _way_out(lab: str) -> Iterator[None]:
    try:
        yield
    except KernelError as refused:
        raise KernelError(f"{refused}; take it down, then up again: {runnable(f'lab down --lab {lab}')}") from refused


def _require_whole(plan: Plan) -> None:
    if left := told(losses(plan)):
        raise KernelError(f"lab {plan.lab} still lacks {', '.join(left)}")


def _costs(plan: Plan, found: list[Loss]) -> Iterator[str]:
    places = [
        loss.item.namespace if isinstance(loss.item, Ruleset) else loss.item.name
        for loss in found
        if isinstance(loss.item, Ruleset) or (isinstance(loss.item, Namespace) and not loss.down)
    ]
    if places:
        names = ", ".join(sorted(set(places)))
        yield f"connections that were held in {names} may be forgotten there, and counts begin anew"
    linked = _linked(loss.item for loss in found if not loss.down)
    ended = {loss.item for loss in found if not loss.stopped}
    if any(isinstance(item, Process) and (item in ended or item.namespace in linked) for item in plan.objects):
        yield "connections to a process that was started again are lost"
    if linked:
        yield f"faults that lab impair had set on links of {', '.join(sorted(linked))} are gone"


def _linked(items: Iterable[KernelObject]) -> set[str]:
    """Namespaces at the ends of these links."""
    return {end.namespace for item in items if isinstance(item, VethPair) for end in (item.a, item.b)}


def _clear_the_way(site: Site, plan: Plan, found: list[Loss]) -> None:
    """End what lives on in namespaces without names, remove links that lost an end; continue and set up the rest."""
    named = {identity_of(NETNS_DIRECTORY / name) for name in plan.namespaces if exists(name)}
    unnamed = {each: name for each, name in unnamed_namespaces(site.record).items() if each not in named}
    if unnamed:
        for resident in processes.end((), unnamed):
            if not resident.ours:
                site.notice(f"ended with its namespace: {resident.command} ({resident.pid}) in {resident.namespace}")
    for loss in found:
        if loss.stopped:
            with suppress(ProcessLookupError):
                os.kill(loss.stopped, signal.SIGCONT)
        elif loss.down:
            namespace, interface = loss.down
            with refusal_of(f"interface {interface} in {namespace} up"):
                rtnl.set_up(site.namespaces, namespace, interface)
        elif isinstance(loss.item, Rule) and loss.item not in plan.objects:  # the kernel's own
            with refusal_of(loss.item):
                rtnl.add_rule(site.namespaces, loss.item)
        elif isinstance(loss.item, VethPair):
            for end in (loss.item.a, loss.item.b):
                with suppress(*refusals()):  # it is gone already
                    rtnl.remove_veth(site.namespaces, end)


def _make(site: Site, plan: Plan, found: list[Loss]) -> None:
    """In the order of the plan. A process loses its rings with the link that they are on, so it is started again."""
    gone = {loss.item.name for loss in found if isinstance(loss.item, Namespace) and not loss.down}
    items = {loss.item for loss in found if not loss.down and not loss.stopped}
    items |= {item for item in plan.objects if getattr(item, "namespace", None) in gone}
    linked = _linked(items)
    for item in plan.objects:
        if isinstance(item, Process) and item.namespace in linked and item not in items:
            processes.stop(item)
        elif item not in items:
            continue
        with refusal_of(item):
            _AGAIN.get(type(item), STEPS[type(item)][0])(site, item)
    with refusal_of("every interface up"):
        rtnl.wait_until_up(site.namespaces, plan.namespaces)
    site.await_processes()


def _link_again(site: Site, pair: VethPair) -> None:
    """A table of `lab impair` outlives its interface, and would tell of faults that are not there any more."""
    STEPS[VethPair][0](site, pair)
    for end in (pair.a, pair.b):
        impair.forget(site.namespaces, end.namespace, end.interface)


_AGAIN: dict[type[KernelObject], Callable[[Site, Any], None]] = {
    Neighbour: lambda site, item: rtnl.replace_neighbour(site.namespaces, item),
    Route: lambda site, item: rtnl.replace_route(site.namespaces, item),
    VethPair: _link_again,
    Ruleset: lambda site, item: nft.complete_ruleset(site.namespaces, item),
}
"""Kinds of which something else, or a part, may be there; all others are made as they were first."""
