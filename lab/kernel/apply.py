"""Apply a plan and take it back: a table of what each kind of object needs, no policy.

Most objects live in a namespace and end with it; the others have their undo beside their do. Undoing goes by the whole
plan, not by a list of what was made: it is the same for a lab that is up, one whose making failed, one that was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import errno
import os
from pathlib import Path
from typing import Any, Self

from lab.errors import KernelError
from lab.kernel import authority, nft, preflight, processes, rtnl, sysctl
from lab.kernel.invoker import runnable
from lab.kernel.netns import NETNS_DIRECTORY, Namespaces, cookie, exists, identity_of, refusals
from lab.kernel.record_files import make_directory, write_at_once
from lab.kernel.remains import unnamed_namespaces
from lab.kernel.state import KnownNamespace, Record, State
from lab.plan.describe import describe_object
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

__all__ = [
    "STEPS",
    "Notice",
    "Site",
    "apply",
    "refusal_of",
    "require_room",
    "require_vacant",
    "undo",
]

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
Notice = Callable[[str], None]
"""Is called with a sentence for the user."""


@dataclass(slots=True)
class Site:
    """What applying a plan works with: the lab's record, threads in its namespaces, processes that are starting."""

    state: State
    record: Record
    notice: Notice
    namespaces: Namespaces = field(default_factory=Namespaces)
    starting: list[processes.StartingProcess] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.namespaces.close()

    def await_processes(self) -> None:
        """Return once all that were started are ready."""
        while self.starting:
            self.starting.pop(0).wait_ready()

    def give_up_processes(self) -> None:
        """Stop waiting for those that were started."""
        while self.starting:
            os.close(self.starting.pop(0).report)

    @property
    def conntrack_max(self) -> sysctl.ConntrackMaxKeeper:
        """What raises and restores the one host-wide setting; callers hold the state's lock."""
        return sysctl.ConntrackMaxKeeper(self.state.conntrack_max_record, notice=self.notice)


def _raise_conntrack_max(site: Site, item: ConntrackMax) -> None:
    with site.state.locked():
        raised = site.conntrack_max.need(site.record.lab, item.entries, site.record.scale())
    if raised:
        site.notice(
            f"raised net.netfilter.nf_conntrack_max from {raised[0]:,} to {raised[1]:,} for the whole machine; "
            "the last `lab down` restores it"
        )


def _restore_conntrack_max(site: Site, _: ConntrackMax) -> None:
    with site.state.locked():
        restored = site.conntrack_max.release(site.record.lab)
    if restored:
        site.notice(f"restored net.netfilter.nf_conntrack_max to {restored[1]:,}")


def _write_file(_: Site, item: File) -> None:
    make_directory(Path(item.path).parent)
    write_at_once(Path(item.path), item.text)


def _remove_file(_: Site, item: File) -> None:
    path = Path(item.path)
    for each in (path, path.with_name(f"{path.name}.new")):  # the second where writing it was interrupted
        each.unlink(missing_ok=True)
    try:
        path.parent.rmdir()
    except FileNotFoundError:
        pass
    except OSError as refused:
        if refused.errno not in _NOT_EMPTY:  # another file of the lab is still to go, or one that is not the lab's
            raise


def _make_namespace(site: Site, item: Namespace) -> None:
    site.namespaces.create(item.name)
    identity = identity_of(NETNS_DIRECTORY / item.name)
    with suppress(OSError):  # before Linux 5.14 there are no cookies: `down` then finds it by name and by its processes
        site.record.note_namespace(KnownNamespace(item.name, *identity, site.namespaces.call(item.name, cookie)))


def _start(site: Site, item: Process) -> None:
    log = site.record.logs / f"{item.namespace}.log"
    site.starting.append(processes.start(site.namespaces[item.namespace], item, log))


def _goes_with_its_namespace(_: Site, __: Any) -> None:
    """No undo: the kernel removes the object with its namespace."""


def _in_namespaces(do: Callable[[Namespaces, Any], None]) -> Callable[[Site, Any], None]:
    return lambda site, item: do(site.namespaces, item)


_Step = Callable[[Site, Any], None]

STEPS: dict[type, tuple[_Step, _Step]] = {
    ConntrackMax: (_raise_conntrack_max, _restore_conntrack_max),
    Namespace: (
        _make_namespace,
        lambda site, item: site.namespaces.delete(item.name),
    ),
    Sysctl: (_in_namespaces(sysctl.write_sysctl), _goes_with_its_namespace),
    VethPair: (_in_namespaces(rtnl.add_veth), _goes_with_its_namespace),
    Bridge: (_in_namespaces(rtnl.add_bridge), _goes_with_its_namespace),
    BridgePort: (_in_namespaces(rtnl.add_bridge_port), _goes_with_its_namespace),
    Address: (_in_namespaces(rtnl.add_address), _goes_with_its_namespace),
    Neighbour: (_in_namespaces(rtnl.add_neighbour), _goes_with_its_namespace),
    Route: (_in_namespaces(rtnl.add_route), _goes_with_its_namespace),
    Rule: (_in_namespaces(rtnl.add_rule), _goes_with_its_namespace),
    Ruleset: (_in_namespaces(nft.apply_ruleset), _goes_with_its_namespace),
    File: (_write_file, _remove_file),
    Process: (_start, _goes_with_its_namespace),
    Certificate: (lambda _, item: authority.issue(item), lambda _, item: Path(item.path).unlink(missing_ok=True)),
}
"""Kind of object → (do, undo). Undoing what was never done is allowed: `down` works on half-built labs."""


def apply(state: State, record: Record, plan: Plan, notice: Notice) -> None:
    """Make everything, in order. A caller that gets an exception has `undo` to call, whatever was made."""
    require_room(plan)
    with Site(state, record, notice) as site:
        for item in plan.objects:
            with refusal_of(item):
                STEPS[type(item)][0](site, item)
        with refusal_of("every interface up"):
            rtnl.wait_until_up(site.namespaces, plan.namespaces)
        site.await_processes()


def require_room(plan: Plan) -> None:
    """PreflightError where this process may not have the address space and the descriptors for what a plan has."""
    preflight.require_address_space(len(plan.namespaces))
    started = sum(isinstance(item, Process) for item in plan.objects)
    preflight.require_descriptors(len(plan.namespaces) + started, "namespaces and traffic processes")


def require_vacant(state: State, plan: Plan, *, new_to: Plan | None = None) -> None:
    """Refuse to begin where something is that this lab has not made: it must not be undone with the rest.

    Only what is `new_to` another plan counts, if there is one. Callers hold the state's lock until it
    is recorded, so that no two labs find the same name free.
    """
    known = () if new_to is None else new_to.objects
    files = {item.path for item in known if isinstance(item, File)}
    owners = dict(_owners(state))
    for name in plan.namespaces:
        if new_to is not None and name in new_to.namespaces:
            continue
        if name in owners:
            raise KernelError(f"namespace {name} belongs to lab {owners[name]}; use another name: lab up --name")
        if exists(name):
            raise KernelError(
                f"{NETNS_DIRECTORY / name} is there already, and no lab has made it; use another name (lab up --name), "
                f"or, if nothing called lab-{plan.lab}-… is needed, remove all of it: "
                + runnable(f"lab down --lab {plan.lab}")
            )
    for item in plan.objects:
        if isinstance(item, File) and item.path not in files and not _is_free(item):
            raise KernelError(f"{item.path} is there already, and no lab has made it; use another name: lab up --name")


def _owners(state: State) -> Iterator[tuple[str, str]]:
    """Namespace → lab, whichever version made it; what a damaged record had is found by its name, if it is there."""
    for record in state.records():
        if (plan := record.remains()) is not None:  # or it is damaged, or was taken down since they were listed
            yield from ((name, record.lab) for name in plan.namespaces)


def _is_free(item: File) -> bool:
    """Whether the file can be made; one with just this text was left by a lab when the machine went down."""
    path = Path(item.path)
    if not path.parent.exists():
        return True
    if not path.exists():
        return path.parent.is_dir()
    return path.read_text(encoding="utf-8", errors="replace") == item.text


@contextmanager
def refusal_of(item: KernelObject | str, verb: str = "") -> Iterator[None]:
    """A step that the kernel may refuse; KernelError says which, and why."""
    try:
        yield
    except refusals() as refused:
        step = item if isinstance(item, str) else _headline(item)
        raise KernelError(f"the kernel refused a step: {verb}{step}: {refused}") from refused


def _headline(item: KernelObject) -> str:
    """A step in one line: a ruleset's text is left out."""
    return describe_object(item).partition("\n")[0]


def undo(state: State, record: Record, plan: Plan, notice: Notice) -> list[processes.NamespaceProcess]:
    """Take back all of a plan, whatever part of it is there; which processes were ended in its namespaces."""
    with Site(state, record, notice) as site:
        ended = processes.end(plan.namespaces, unnamed_namespaces(record))
        _undo_all(site, plan.objects)
    return ended


def _undo_all(site: Site, items: Iterable[KernelObject]) -> None:
    """Undo in reverse order; a failure does not stop the others."""
    refused = []
    for item in reversed(tuple(items)):
        try:
            STEPS[type(item)][1](site, item)
        except KernelError as error:
            refused.append(f"{_headline(item)}: {error}")
        except refusals() as error:
            refused.append(f"{_headline(item)}: {error}")
    if refused:
        raise KernelError("could not be taken back: " + "; ".join(refused))
