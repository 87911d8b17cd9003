"""Which modules a command loads, told by the interpreter itself (`python -X importtime`)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import packages_distributions
import re
import sys

__all__ = ["IMPORT_TIMES", "MAY_LOAD", "beyond"]

IMPORT_TIMES = (sys.executable, "-X", "importtime")
"""How a command is started so that its standard error names each module that it loads."""

_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| *(\S+)$", re.MULTILINE)

_LIBRARIES = {
    *("typer", "click", "annotated_doc", "shellingham"),  # the command line
    *("rich", "pygments", "markdown_it", "mdurl", "linkify_it", "attr"),  # its tables
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),  # a plan's record
    "msgspec",  # what the plan tells the lab's processes
    *("_distutils_hack", "setuptools"),  # the interpreter's own
}
_INSTALLED = {*packages_distributions(), "lab", "traffic"}
"""Top-level modules that are packages of somebody's; what else the interpreter names is the standard library's."""

_COMMAND_LINE = {
    *("lab", "lab.cli.*", "lab.errors", "lab.interrupts"),
    *("lab.kernel", "lab.kernel.invoker", "lab.kernel.outputs"),
}
_OPTIONS_OF_TRAFFIC = {
    "lab.burst",
    "lab.burst.load",
    "lab.invoke",
    "lab.invoke.asked",
    "lab.schema",
    "lab.schema.options",
    "lab.schema.descriptors",
    "lab.schema.limits",
    "traffic",
    "traffic.*",
}
_RECORD = {
    *_COMMAND_LINE,
    "lab.lab",
    "lab.kernel.*",
    "lab.plan.*",
    "lab.slots.*",
    "lab.schema",
    "lab.schema.descriptors",
    "lab.schema.drops",
    "traffic",
    "traffic.*",
}
"""What reads the plan of a lab that is up. Whatever of it needs numpy or netlink fails by those names."""

MAY_LOAD: dict[str, set[str]] = {
    "--help": {*_COMMAND_LINE, *_OPTIONS_OF_TRAFFIC},
    "list": _RECORD,
    "exec": _RECORD,
    "status": {*_RECORD, "lab.observe.*", "lab.nodes", "lab.nodes.*", "pyroute2.*"},
    "reset": {*_RECORD, "lab.observe.*", "lab.nodes", "lab.nodes.*", "lab.burst", "lab.burst.reset"},
    "down": {*_RECORD, "lab.converge", "lab.converge.down", "pyroute2.*"},
}
"""Command → the modules of the lab, and the libraries, that it may load beside the standard library; `.*` is a package
with all in it. A module that is missed here makes the command slower for everyone: import it where it is used."""


def beyond(command: str, standard_error: str) -> list[str]:
    """The modules that were loaded and that a command may not load; AssertionError when none was named at all."""
    modules = _LINE.findall(standard_error)
    assert "lab.cli" in modules
    allowed = MAY_LOAD[command] | {f"{library}.*" for library in _LIBRARIES}
    return [module for module in modules if module.partition(".")[0] in _INSTALLED and not _is_in(module, allowed)]


def _is_in(module: str, allowed: Iterable[str]) -> bool:
    packages = [name.removesuffix(".*") for name in allowed if name.endswith(".*")]
    return module in allowed or any(module == each or module.startswith(f"{each}.") for each in packages)
