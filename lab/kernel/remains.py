"""What `down` takes away of a lab: what of its plan is the lab's own, or what bears its name where there is no plan.

No record is believed beyond the lab's own: namespaces `lab-NAME-…`, files in their directories below /etc/netns, and
the host-wide setting. `lab-a-b-vpc` may be of lab `a` or of lab `a-b`: it is of the one with the longer name whose plan
has it, and of one without a readable plan only if no plan has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.kernel.netns import NETNS_DIRECTORY, Identity, call_in, cookie
from lab.kernel.processes import all_processes, log_of
from lab.kernel.state import Record, State
from lab.plan.names import ETC_NETNS, namespace_name
from lab.plan.objects import ConntrackMax, File, KernelObject, Namespace, Plan

__all__ = ["owned", "remains", "unnamed_namespaces"]


def remains(state: State, record: Record) -> Plan:
    """What is to be taken away of a lab, in the order of making, whatever its record is like; also without one."""
    recorded = record.remains()
    if recorded is None:
        names = [*_named(NETNS_DIRECTORY, record.lab), *_named(ETC_NETNS, record.lab)]
        files = [file for name in dict.fromkeys(names) for file in _files_of(name)]
        recorded = Plan(record.lab, (ConntrackMax(0), *map(Namespace, dict.fromkeys(names)), *files), (), (), (), ())
    mine = set(owned(state, record.lab, recorded.namespaces))
    return Plan(record.lab, tuple(item for item in recorded.objects if _is_own(item, mine)), (), (), (), ())


def owned(state: State, lab: str, namespaces: Iterable[str]) -> Iterator[str]:
    """Those of these namespaces that are this lab's, or at least no other's."""
    others = {other.lab: other.remains() for other in state.records() if _may_share_names(other.lab, lab)}
    for name in namespaces:
        claims = [other for other in others if name.startswith(namespace_name(other, ""))]
        planned = [other for other in claims if (plan := others[other]) is not None and name in plan.namespaces]
        owner = max(planned or claims, key=len, default=lab)
        if owner == lab and name.startswith(namespace_name(lab, "")) and "/" not in name:
            yield name


def _may_share_names(one: str, other: str) -> bool:
    return f"{one}-".startswith(f"{other}-") or f"{other}-".startswith(f"{one}-")


def _named(directory: Path, lab: str) -> Iterator[str]:
    return (path.name for path in sorted(directory.glob(namespace_name(lab, "*"))))


def _files_of(name: str) -> Iterator[File]:
    """What is below /etc/netns for a namespace; the first that is named is always there or need not be."""
    directory = ETC_NETNS / name
    if directory.is_symlink():
        yield File(str(directory), "")
    elif directory.is_dir():
        yield from (File(str(path), "") for path in (directory / "resolv.conf", *directory.iterdir()))


def _is_own(item: KernelObject, mine: set[str]) -> bool:
    if isinstance(item, Namespace):
        return item.name in mine
    if isinstance(item, File):
        path = Path(item.path)
        directory = path if path.parent == ETC_NETNS else path.parent
        return directory.parent == ETC_NETNS and directory.name in mine and path.name != ".."
    return isinstance(item, ConntrackMax)


def unnamed_namespaces(record: Record) -> dict[Identity, str]:
    """A lab's namespaces in which processes live though their names are gone, as after `ip netns del`.

    They are told by the kernel's cookie, which was recorded, and by the lab's own processes: they write to its logs.
    """
    known = {(note.device, note.inode): note for note in record.known_namespaces()}
    found = {}
    for pid, identity in all_processes():
        log = log_of(pid)
        if log is not None and log.parent == record.logs:
            found[identity] = log.name.partition(".")[0]
        elif identity in known and identity not in found and _cookie_of(pid) == known[identity].cookie:
            found[identity] = known[identity].name
    return found


def _cookie_of(pid: int) -> int | None:
    try:
        return call_in(f"/proc/{pid}/ns/net", cookie)
    except OSError:  # the process has ended meanwhile, or the kernel knows no cookies
        return None
