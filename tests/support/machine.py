"""The machine in tests: what it lacks, what is left of a lab on it, its own network, which no lab may touch."""

from __future__ import annotations

import json
from pathlib import Path
import platform
import re
from typing import Any

import pytest

from lab.errors import PreflightError
from lab.kernel import preflight
from lab.kernel.invoker import in_sandbox
from tests.support.host import ETC_NETNS, NETNS, RUN_LAB, network_of_host, output, settings_of_host
from traffic.privileges import has_users

__all__ = [
    "ETC_NETNS",
    "NETNS",
    "RUN_LAB",
    "hosts_own_network",
    "ip",
    "left_of",
    "require_machine",
    "require_no_sandbox",
    "require_other_users",
    "require_sizes_that_change",
]


def require_machine(*programs: str) -> None:
    """Skip the test, with the reason, where this machine cannot have labs or lacks one of these programs."""
    try:
        preflight.require_everything()
        for program in programs:
            preflight.require_program(program)
    except PreflightError as lacking:
        pytest.skip(str(lacking))


def require_no_sandbox() -> None:
    """Skip a test of what only the machine's root can do, such as to be called through sudo."""
    if in_sandbox():
        pytest.skip("in a sandbox nobody is the machine's root")


def require_other_users() -> None:
    """Skip the test in a sandbox that has no other users than who started it."""
    if not has_users():
        pytest.skip("this sandbox has one user; those with subordinate numbers have others: apt install uidmap")


def require_sizes_that_change() -> None:
    """Skip the test, with the reason, where the kernel leaves the size of a set as it is (`lab.kernel.nft` says so)."""
    numbers = [int(each) for each in re.findall(r"\d+", platform.release())[:2]]
    if numbers < [6, 5]:
        pytest.skip(f"kernel {platform.release()} does not change a set's size, Linux 6.5 does")


def ip(*words: str, namespace: str | None = None) -> Any:
    """What `ip -details -json` says, in the host's own namespace or in another; None if it is silent."""
    there = () if namespace is None else ("-n", namespace)
    said = output("ip", "-details", "-json", *there, *words)
    return json.loads(said) if said.strip() else None


def left_of(lab: str) -> list[str]:
    """Everything that this machine has of a lab: namespaces, files, processes."""
    found = [*NETNS.glob(f"lab-{lab}-*"), *ETC_NETNS.glob(f"lab-{lab}-*"), *RUN_LAB.glob(lab)]
    return [str(path) for path in found] + [f"process {number}" for number in _processes(lab)]


def _processes(lab: str) -> list[int]:
    """Processes that write to a log of the lab, wherever they are."""
    logs = str(RUN_LAB / lab / "log")
    return [int(each.parts[2]) for each in Path("/proc").glob("[0-9]*/fd/2") if _target(each).startswith(logs)]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # the process has ended meanwhile
        return ""


def hosts_own_network() -> dict[str, str]:
    """The network of the host's own namespace in words, and its settings."""
    return network_of_host() | settings_of_host("net")
