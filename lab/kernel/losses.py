"""What is missing of a lab that is up: at once by /run/netns and /proc alone, or all of it as the kernel has it.

All of it takes a tenth of a second to load the netlink library, and some 10 ms for a namespace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from lab.kernel.invoker import runnable
from lab.kernel.netns import Namespaces, exists
from lab.kernel.preflight import require_descriptors
from lab.kernel.present import Links, has, missing_parts, setting, there
from lab.kernel.processes import arguments_of, is_stopped, running, sees_all
from lab.plan.objects import (
    MAIN_TABLE,
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

__all__ = ["Loss", "losses", "lost", "told", "way_out"]

_CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_SOME_PARTS = 3
_MAIN_RULE = 32_766
"""Priority of the rule by which each namespace looks up its main table (ip-rule(8))."""


@dataclass(frozen=True, slots=True)
class Loss:
    """An object of a plan that is not as the plan has it."""

    item: KernelObject
    text: str
    """What is lost, for a sentence of the form "the lab has lost …"."""
    down: tuple[str, str] | None = None
    """Namespace and name of an interface that is there, and is set down."""
    stopped: int = 0
    """The process id of one that is there, and is stopped."""


def lost(plan: Plan) -> list[str]:
    """Namespaces that are gone, and processes that have ended or are stopped: all that can be told without netlink."""
    return [loss.text for loss in _at_once(plan)]


def _at_once(plan: Plan) -> Iterator[Loss]:
    started = [item for item in plan.objects if isinstance(item, Process)]
    pids: dict[str, list[int]] = {}  # a server that serves by several processes has more than one
    for process in running(plan.namespaces, arguments_of("")):
        pids.setdefault(process.namespace, []).append(process.pid)
    for item in plan.objects:
        if isinstance(item, Namespace) and not exists(item.name):
            yield Loss(item, f"namespace {item.name}")
    for item in started if sees_all() else ():
        what, there = f"the {item.verb} process in {item.namespace}", pids.get(item.namespace, [])
        if not there:
            yield Loss(item, what)
        for pid in filter(is_stopped, there):
            yield Loss(item, f"{what} (stopped: {runnable(f'kill -CONT {pid}')})", stopped=pid)


def losses(plan: Plan) -> list[Loss]:
    """Everything of a plan that is not there, is set down or stopped, in the order of making within each kind.

    What was in a namespace that is gone is not listed beside it, but for processes.
    """
    found, links = list(_at_once(plan)), dict[str, Links]()
    require_descriptors(len(plan.namespaces), "namespaces")
    with Namespaces() as namespaces:
        for name in plan.namespaces:
            with suppress(FileNotFoundError):  # it is gone, and told already
                links[name] = there(namespaces[name])
        found += _of_links(plan, links)
        for item in plan.objects:
            if isinstance(item, Ruleset) and item.namespace in links:
                found += _of_ruleset(namespaces, item)
            elif isinstance(item, Sysctl) and item.namespace in links:
                found += _of_setting(namespaces, item)
    found += _of_host(plan)
    return found


def _of_links(plan: Plan, links: dict[str, Links]) -> Iterator[Loss]:
    for name, found in links.items():
        if not has(found, main := Rule(name, _MAIN_RULE, MAIN_TABLE)):  # the kernel's, which `ip rule flush` removes
            yield Loss(main, f"{_words(main)} in {name}")
    for item in plan.objects:
        if isinstance(item, Namespace) and item.name in links and "lo" not in links[item.name].up:
            yield _set_down(item, item.name, "lo")
        elif isinstance(item, VethPair):
            ends = [(end.namespace, end.interface) for end in (item.a, item.b)]
            if absent := [(name, end) for name, end in ends if name not in links or end not in links[name].names]:
                yield Loss(item, " and ".join(f"interface {end} in {name}" for name, end in absent))
            else:
                yield from (_set_down(item, name, end) for name, end in ends if end not in links[name].up)
        elif isinstance(item, (Bridge, BridgePort, Address, Neighbour, Route, Rule)) and item.namespace in links:
            if not has(links[item.namespace], item):
                yield Loss(item, f"{_words(item)} in {item.namespace}")
            elif isinstance(item, Bridge) and item.interface not in links[item.namespace].up:
                yield _set_down(item, item.namespace, item.interface)


def _set_down(item: KernelObject, namespace: str, interface: str) -> Loss:
    return Loss(item, f"interface {interface} in {namespace} (set down)", down=(namespace, interface))


def _words(item: Bridge | BridgePort | Address | Neighbour | Route | Rule) -> str:
    match item:
        case Bridge():
            return f"bridge {item.interface}"
        case BridgePort():
            return f"port {item.interface} of bridge {item.bridge}"
        case Address():
            return f"address {item.address} of {item.interface}"
        case Neighbour():
            return f"neighbour {item.address} of {item.interface}"
        case Route():
            return f"the route to {item.destination}"
        case Rule():
            return f"routing rule {item.priority}"


def _of_ruleset(namespaces: Namespaces, item: Ruleset) -> Iterator[Loss]:
    where = f"table {item.table.family} {item.table.name} in {item.namespace}"
    parts = missing_parts(namespaces[item.namespace], item)
    if parts is None:
        yield Loss(item, where)
    elif parts:
        more = f" and {len(parts) - _SOME_PARTS:,} more" if len(parts) > _SOME_PARTS else ""
        yield Loss(item, f"parts of {where} ({', '.join(parts[:_SOME_PARTS])}{more})")


def _of_setting(namespaces: Namespaces, item: Sysctl) -> Iterator[Loss]:
    if item.optional:
        return
    value = setting(namespaces[item.namespace], item)
    if value and value != " ".join(item.value.split()):
        yield Loss(item, f"setting {item.key}={item.value} in {item.namespace} (it is {value})")


def _of_host(plan: Plan) -> Iterator[Loss]:
    for item in plan.objects:
        if isinstance(item, (File, Certificate)) and not Path(item.path).exists():
            yield Loss(item, f"file {item.path}")
        elif isinstance(item, ConntrackMax):
            entries = int(_CONNTRACK_MAX.read_text(encoding="utf-8"))
            if entries < item.entries:
                yield Loss(item, f"net.netfilter.nf_conntrack_max of {item.entries:,} (it is {entries:,})")


# ── In words ────────────────────────────────────────────────────────────────────────────────────────────────


def told(found: Sequence[Loss]) -> list[str]:
    """The losses in words: without what went with a namespace or an interface, and several of a kind as a number."""
    gone = {loss.item.name for loss in found if isinstance(loss.item, Namespace) and not loss.down}
    off = set(_off(found))
    causes = [loss for loss in found if not _goes_with(loss, gone, off)]
    return [
        text
        for (kind, namespace), alike in groupby(causes, key=lambda loss: (type(loss.item), _namespace(loss.item)))
        for text in _together(kind, namespace, list(alike))
    ]


def way_out(lab: str) -> str:
    """What to do about what a lab has lost, as the end of a sentence."""
    mend, remove = runnable(f"lab up --repair --name {lab} FILE"), runnable(f"lab down --lab {lab}")
    return f"mend it: {mend}, or take it down: {remove}"


def _off(found: Iterable[Loss]) -> Iterator[tuple[str, str]]:
    """Interfaces that are gone or set down: what was on them is not listed beside them."""
    for loss in found:
        if loss.down:
            yield loss.down
        elif isinstance(loss.item, VethPair):
            yield from ((end.namespace, end.interface) for end in (loss.item.a, loss.item.b))
        elif isinstance(loss.item, Bridge):
            yield loss.item.namespace, loss.item.interface


def _goes_with(loss: Loss, gone: Collection[str], off: Collection[tuple[str, str]]) -> bool:
    match loss.item:
        case VethPair(a, b):
            return not loss.down and (a.namespace in gone or b.namespace in gone)
        case Address() | Neighbour() | Route() | BridgePort():
            return (loss.item.namespace, loss.item.interface or "") in off
        case _:
            return False


def _namespace(item: KernelObject) -> str:
    return getattr(item, "namespace", "")


_COUNTED: dict[type, str] = {
    Address: "addresses",
    Neighbour: "neighbours",
    Route: "routes",
    Rule: "routing rules",
    Sysctl: "settings",
}


def _together(kind: type, namespace: str, alike: list[Loss]) -> list[str]:
    if kind in _COUNTED and len(alike) > 1:
        return [f"{len(alike):,} {_COUNTED[kind]} in {namespace}"]
    return [loss.text for loss in alike]
