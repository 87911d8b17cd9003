"""The commands that make a run again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
import shlex
from typing import Any

from lab.burst.load import Load, Ramp
from lab.topology import Topology, load_text, scaled

__all__ = ["TOPOLOGY_FILE", "burst_command", "commands", "option_of", "scale_of"]

TOPOLOGY_FILE = "topology.yaml"
"""In a record's directory."""

_OPTIONS = {"rate_per_s": "--rate", "connections": "-n"}
_FLAGS = ("lambda_scaling", "reuse", "syn_only", "leave_open")


def commands(lab: str, topology_text: str, topology: Topology, load: Load) -> tuple[str, ...]:
    """From nothing to the burst, in a directory with the run's `topology.yaml`."""
    up = ["sudo", "lab", "up", TOPOLOGY_FILE]
    if (scale := scale_of(topology_text, topology)) not in (None, 1):
        up += ["--scale", str(scale)]
    if lab != topology.name:
        up += ["--name", lab]
    return shlex.join(up), burst_command(lab, load)


def burst_command(lab: str, load: Load) -> str:
    """The `lab burst` of a load: what it says beyond the defaults."""
    default = Load(connections=load.connections)
    words = ["sudo", "lab", "burst", "--lab", lab]
    for field in fields(Load):
        value = getattr(load, field.name)
        if field.name == "connections" or value != getattr(default, field.name):
            words += _option(field.name, value)
    return shlex.join(words)


def option_of(field: str) -> str:
    """The option of `lab burst` for a field of a load."""
    return _OPTIONS.get(field, "--" + field.removesuffix("_s").replace("_", "-"))


def _option(name: str, value: Any) -> list[str]:
    return [option_of(name)] if name in _FLAGS else [option_of(name), _text(value)]


def _text(value: Any) -> str:
    """Whole seconds without a fraction, others exactly."""
    if isinstance(value, Ramp):
        return ":".join(_text(each) for each in (value.from_per_s, value.to_per_s, value.seconds))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


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
