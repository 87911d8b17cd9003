"""The host in tests: all that a lab may not change of it, and all that it has of a lab, to be compared later."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
import os
from pathlib import Path
import re
import subprocess
from tempfile import gettempdir

from lab.kernel import preflight

__all__ = [
    "ETC_NETNS",
    "NETNS",
    "RUN_LAB",
    "children",
    "differences",
    "network_of_host",
    "of_lab",
    "output",
    "settings_of_host",
]

NETNS, ETC_NETNS, RUN_LAB = Path("/run/netns"), Path("/etc/netns"), Path("/run/lab")
_SETTINGS, _CGROUPS = Path("/proc/sys"), Path("/sys/fs/cgroup")
_QUESTIONS = ("link show", "address show", "route show table all", "rule show")
_BY_ITSELF = re.compile(
    r"kernel/(random|pty/nr|ns_last_pid|perf_event|sched_domain)|fs/(file-nr|inode|dentry|aio-nr|quota)"
    r"|net/netfilter/nf_conntrack_(max|count)|net/nf_conntrack_max|net/.*/(flush|stat_refresh)|vm/stat_refresh"
    r"|kernel/usermodehelper|net/ipv4/tcp_.*_key|net/ipv4/neigh/.*/(app|retrans_time_ms)"
)
"""Settings that are counts, that answer differently each time, or of which all labs share one (`nf_conntrack_max`)."""


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """A line for each thing that is not the same twice."""
    return [
        f"{name}: {_excerpt(before.get(name))} before, {_excerpt(after.get(name))} after"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _excerpt(text: str | None) -> str:
    return "not there" if text is None else repr(text[-300:])


# ── The host's own ──────────────────────────────────────────────────────────────────────────────────────────


def network_of_host() -> dict[str, str]:
    """Links, addresses, routes of all tables, rules and nftables (without counts) of this process's namespace."""
    batch = "\n".join(_QUESTIONS)
    said = output("ip", "-details", "-batch", "-", text=batch) + output("ip", "-6", "rule", "show")
    return {"ip": re.sub(r"\d+sec", "", said), "nft": output("nft", "--stateless", "list", "ruleset")}


def output(*command: str, text: str = "") -> str:
    """What a program says that is given a text; CalledProcessError if it fails."""
    program = preflight.find(command[0]) or command[0]
    return subprocess.run((program, *command[1:]), input=text, capture_output=True, text=True, check=True).stdout


def settings_of_host(below: str = "") -> dict[str, str]:
    """What `sysctl -a` says, or the part of it in a directory of /proc/sys, but for what changes by itself."""
    return {path: text for path in _settings(below) if (text := _read(path)) is not None}


@cache
def _settings(below: str) -> tuple[str, ...]:
    return tuple(path for path in sorted(_below(_SETTINGS / below)) if not _BY_ITSELF.search(path))


def _below(directory: Path) -> Iterator[str]:
    """Files and directories, at any depth; what goes meanwhile is left out."""
    for at, directories, files in os.walk(directory):
        yield from (f"{at}/{name}" for name in (*directories, *files))


def _read(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # it can only be written to, or is gone
        return None
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65536), b"")).decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)


# ── What it has of a lab ────────────────────────────────────────────────────────────────────────────────────


def of_lab(lab: str) -> dict[str, str]:
    """Everything of a lab that is on the machine: namespaces, mounts, files, what it needs of the host's maximum.

    Its processes are told by whoever started them (`children`).
    """
    begin = f"lab-{lab}-"
    named = [*NETNS.glob(f"{begin}*"), *ETC_NETNS.glob(f"{begin}*"), *RUN_LAB.glob(lab), *RUN_LAB.glob(f".{lab}.*")]
    named += Path(gettempdir()).glob(f"*{lab}*")
    files = [below for path in named for below in (str(path), *_below(path))]
    files += [path for path in _below(_CGROUPS) if lab in path]
    mounts = [line.split()[4] for line in (_read("/proc/self/mountinfo") or "").splitlines() if begin in line]
    found = dict.fromkeys([*files, *(f"mount of {path}" for path in mounts)], "there")
    maximum = str(RUN_LAB / ".nf_conntrack_max.json")
    return found | ({maximum: "names the lab"} if f'"{lab}"' in (_read(maximum) or "") else {})


def children() -> dict[int, str]:
    """Process → command line of each child of this process that has not ended."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for number in (_read(str(task / "children")) or "").split():
            words = _read(f"/proc/{number}/cmdline")
            if words:  # a zombie has none
                found[int(number)] = words.replace("\0", " ")
    return found
