"""What a process of a lab may do, as /proc says: its user, capabilities, directory, environment and descriptors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from traffic.privileges import LAB_GID, LAB_UID, Capability

__all__ = ["KEPT", "Rights", "kind_of", "rights_of", "wanted"]

ROOT = 0
KEPT: dict[str, tuple[Capability, ...]] = {
    "resolver": (),
    "server": (),
    "packet": (),
    "scapy": (),
    "socket": (),  # the process that adds up what the others report
    "socket worker": (Capability.NET_BIND_SERVICE,),
    "socket worker of several functions": (Capability.NET_BIND_SERVICE, Capability.SYS_ADMIN),
    "collector": (Capability.NET_ADMIN, Capability.SYS_ADMIN),
}
"""Kind of process → what it keeps, as docs/security.md has it."""
_CAPABILITIES = {"CapInh": "inheritable", "CapPrm": "permitted", "CapEff": "effective", "CapBnd": "bounding"}


class Rights(NamedTuple):
    """Each is a property that is counted."""

    user: tuple[int, ...]
    """Real, effective, saved, and of file systems; groups likewise."""
    group: tuple[int, ...]
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privileges: bool
    directory: str
    variables: frozenset[str]
    strangers: tuple[str, ...]
    """Files that it has open beside its log and namespaces of its lab, which only CAP_SYS_ADMIN could enter."""


def rights_of(pid: int) -> Rights:
    """Of a process; OSError when it has ended."""
    process = Path("/proc", str(pid))
    lines = (process / "status").read_text(encoding="utf-8").splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    environment = (process / "environ").read_bytes().decode().split("\0")
    return Rights(
        user=tuple(map(int, status["Uid"])),
        group=tuple(map(int, status["Gid"])),
        groups=tuple(map(int, status["Groups"])),
        **{name: int(status[line][0], 16) for line, name in _CAPABILITIES.items()},
        ambient=int(status["CapAmb"][0], 16),
        no_new_privileges=status["NoNewPrivs"] == ["1"],
        directory=str((process / "cwd").readlink()),
        variables=frozenset(variable.partition("=")[0] for variable in environment if variable),
        strangers=tuple(sorted(_files(process))),
    )


def wanted(kind: str) -> Rights:
    """Of a process of this kind."""
    mask = sum(1 << each for each in KEPT[kind])
    user, group = (ROOT, ROOT) if kind == "collector" else (LAB_UID, LAB_GID)
    return Rights(
        user=(user,) * 4,
        group=(group,) * 4,
        groups=(),
        inheritable=0,
        permitted=mask,
        effective=mask,
        bounding=0,
        ambient=0,
        no_new_privileges=True,
        directory="/",
        variables=frozenset({"LC_ALL", "OPENBLAS_NUM_THREADS"} | ({"PYTHONPATH"} & set(os.environ))),
        strangers=(),
    )


def kind_of(pid: int) -> str:
    """The kind of a process that a lab has started; OSError when it has ended."""
    arguments = Path("/proc", str(pid), "cmdline").read_bytes().decode().split("\0")
    if "lab.observe.collector" in arguments:
        return "collector"
    verb, spec = arguments[arguments.index("traffic") + 1 :][:2]
    if verb != "burst":
        return verb
    engine = next(name for name in ("socket", "scapy", "packet") if f'"engine":"{name}"' in spec)
    status = Path("/proc", str(pid), "stat").read_text(encoding="utf-8")
    parent = Path("/proc", status.rpartition(")")[2].split()[1], "cmdline").read_bytes().decode()
    if "\0traffic\0burst\0" not in parent:
        return engine
    return f"{engine} worker of several functions" if '"namespace":"' in spec else f"{engine} worker"


def _files(process: Path) -> list[str]:
    found = []
    for link in (process / "fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("/") and not target.startswith(("/dev/null", "/run/lab/", "/run/netns/lab-", "/memfd:")):
            found.append(target)
    return found
