"""Every process that a lab starts has given up what it does not need, while the lab is up and during bursts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import signal
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import pytest

from lab.kernel.processes import processes_in
from lab.lab import Lab
from tests.support.command import start_lab
from tests.support.labs import eventually
from tests.support.rights import Rights, kind_of, rights_of, wanted
from tests.trust.promise import Effort, Outcome, Promise

__all__ = ["PROMISE", "Look", "burst_of", "looks", "with_secrets"]

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
SCALE = 100
_BOTH = ("--function", "checkout", "--function", "reports")

Bursts = tuple[tuple[str, ...], ...]
BURSTS: dict[Effort, dict[str, Bursts]] = {
    Effort.SHORT: {"two_functions": (("packet", *_BOTH), ("socket", *_BOTH))},
    Effort.FULL: {
        "two_functions": (("packet", *_BOTH), ("socket", *_BOTH), ("socket",), ("scapy",)),
        "privatelink": (("packet",), ("socket", "--tls"), ("socket", "--protocol", "udp")),
        "transit_gateway": (("packet",), ("packet", "--protocol", "udp")),
        "resolver_tcp": (("socket",),),
    },
}
"""Topology → engines with their options, one burst each."""


class Look(NamedTuple):
    """What was found of one process."""

    kind: str
    differences: tuple[str, ...]


def looks(lab: Lab) -> list[Look]:
    """At every process that the lab has started and that is there now."""
    found = []
    for process in processes_in(lab.plan.namespaces):
        if process.ours:
            with suppress(OSError, ValueError):  # it has ended meanwhile
                kind = kind_of(process.pid)
                found.append(Look(kind, tuple(_differences(kind, rights_of(process.pid)))))
    return found


def _differences(kind: str, found: Rights) -> Iterator[str]:
    for name, is_so, should_be in zip(Rights._fields, found, wanted(kind), strict=True):
        if is_so != should_be:
            yield f"{kind}: {name} is {is_so}, not {should_be}"


@contextmanager
def with_secrets() -> Iterator[None]:
    """A caller with a secret in its environment, and a file open that any program would inherit."""
    with pytest.MonkeyPatch.context() as patch, NamedTemporaryFile() as inherited:
        patch.setenv("LAB_TEST_SECRET", "secret")
        os.set_inheritable(inherited.fileno(), True)  # noqa: FBT003 -- it takes no keyword
        yield


def burst_of(lab: Lab, engine: str, *options: str) -> list[Look]:
    """What the processes of a burst are like that holds its connections, and all others of its lab."""
    burst = start_lab("burst", "--lab", lab.name, "-n", "40", "--engine", engine, "--hold", "60", *options)
    try:
        # A process that is still loading its modules is root's.
        eventually(lambda: _has_begun(looks(lab), engine) or burst.poll() is not None, within_s=20.0)
        return looks(lab)
    finally:
        burst.send_signal(signal.SIGINT)
        burst.communicate()


def _has_begun(found: list[Look], engine: str) -> bool:
    """The processes that connect are there, those that share a socket engine's work among them, and are ready."""
    working = f"{engine} worker" if engine == "socket" else engine
    return any(look.kind.startswith(working) for look in found) and not any(look.differences for look in found)


def _check(effort: Effort) -> Outcome:
    found, failures = list[Look](), list[str]()
    for topology, bursts in BURSTS[effort].items():
        name = f"privilege-{os.getpid()}"
        with with_secrets(), Lab.up(TOPOLOGIES / f"{topology}.yaml", name=name, scale=SCALE) as lab:
            for engine, *options in bursts:
                seen = burst_of(lab, engine, *options)
                found += seen
                described = " ".join((topology, engine, *options))
                if not any(look.kind.startswith(engine) for look in seen):
                    failures.append(f"{described}: no process of the burst was found")
                failures += [f"{described}: {difference}" for look in seen for difference in look.differences]
    kinds = sorted({look.kind for look in found})
    tried = len(found) * len(Rights._fields)
    return Outcome(tried, "properties of processes", tuple(failures), f"{len(found)} processes: {', '.join(kinds)}")


PROMISE = Promise(
    name="privilege",
    text="A process that a lab starts keeps no right that it does not need, and learns no secret of who started it.",
    method="Labs are brought up, and bursts of every engine fired, by a caller with a secret in its environment and "
    "an open file that others inherit. Of each process /proc tells user, groups, five sets of capabilities, "
    "no_new_privs, directory, environment and open files; docs/security.md has what they should be.",
    check=_check,
)
