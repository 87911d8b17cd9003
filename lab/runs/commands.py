"""The commands that make a run again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
import shlex
from typing import Any

from lab.burst.load import Load
from lab.burst.options import arguments
from lab.kernel.invoker import runnable
from lab.topology import Topology, load_text, scaled

__all__ = ["TOPOLOGY_FILE", "burst_command", "commands", "scale_of"]

TOPOLOGY_FILE = "topology.yaml"
"""The topology file in a record's directory."""


def commands(lab: str, topology_text: str, topology: Topology, load: Load) -> tuple[str, ...]:
    """From nothing to the burst, in a directory with the run's `topology.yaml`."""
    up = ["lab", "up", TOPOLOGY_FILE]
    if (scale := scale_of(topology_text, topology)) not in (None, 1):
        up += ["--scale", str(scale)]
    if lab != topology.name:
        up += ["--name", lab]
    return runnable(shlex.join(up)), burst_command(lab, load)


def burst_command(lab: str, load: Load) -> str:
    """The `lab burst` of a load."""
    return runnable(shlex.join(["lab", "burst", "--lab", lab, *arguments(load)]))


def scale_of(text: str, applied: Topology) -> int | None:
    """The smallest number that divides a file's limits so that they are those applied; None if there is none.

    What has been applied is the text's topology scaled: every number that gives the same limits gives the same lab.
    """
    written = load_text(text)
    least = 1
    for limit, fraction in _numbers(written.model_dump(), applied.model_dump()):
        least = max(least, limit // (fraction + 1) + 1)
    return least if scaled(written, least) == applied else None


def _numbers(written: Any, applied: Any) -> Iterator[tuple[int, int]]:
    """Numbers that differ, in pairs."""
    if isinstance(written, dict) and isinstance(applied, dict):
        for name in written.keys() & applied.keys():
            yield from _numbers(written[name], applied[name])
    elif isinstance(written, tuple | list) and isinstance(applied, tuple | list):
        for one, other in zip(written, applied, strict=False):
            yield from _numbers(one, other)
    elif isinstance(written, int) and isinstance(applied, int) and written != applied:
        yield written, applied
