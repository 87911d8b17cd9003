"""`python -m traffic VERB SPEC_JSON [NAMESPACE]`: one traffic process, started inside its network namespace.

The namespace is for those who read the command line, as `ps` does. With - for SPEC_JSON, it is the first line of
standard input.
"""

from __future__ import annotations

from importlib import import_module
import os
import sys
from typing import TYPE_CHECKING

from traffic.environments.spec import EndSpec, FleetProgramSpec, InvokeSpec
from traffic.events import emit
from traffic.spec import BurstSpec, ResolverSpec, ServerSpec, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARGUMENTS = (3, 4)
_PIECE_BYTES = 64 << 10
_VERBS: dict[str, tuple[type[Spec], str, str]] = {
    "resolver": (ResolverSpec, "traffic.servers.resolver", "run"),
    "server": (ServerSpec, "traffic.servers.server", "run"),
    "burst": (BurstSpec, "traffic.engines.{engine}.engine", "run"),
    "invoke": (InvokeSpec, "traffic.environments.invoke", "run"),
    "fleet": (FleetProgramSpec, "traffic.environments.fleet", "run"),
    "end": (EndSpec, "traffic.environments.end", "run"),
}
"""Spec, module and function of each verb; the module is loaded when the verb is known, for start-up time counts."""


def main(arguments: Sequence[str]) -> int:
    """Run one verb; the exit status."""
    if len(arguments) not in _ARGUMENTS or arguments[1] not in _VERBS:
        sys.stderr.write(f"usage: python -m traffic {{{'|'.join(_VERBS)}}} SPEC_JSON [NAMESPACE]\n")
        return 2
    kind, module, function = _VERBS[arguments[1]]
    try:
        spec = kind.from_json(_first_line() if arguments[2] == "-" else arguments[2])
        getattr(import_module(module.format(engine=getattr(spec, "engine", ""))), function)(spec)
    except (OSError, ValueError, TypeError, KeyError) as error:
        emit("error", message=f"{arguments[1]}: {error}")
        return 1
    return 0


def _first_line() -> str:
    """A spec on standard input, which may be longer than an argument; commands come when the process says that it runs.

    Read without a buffer that would keep a part of what follows from whoever reads the commands.
    """
    read = bytearray()
    while not read.endswith(b"\n") and (piece := os.read(sys.stdin.fileno(), _PIECE_BYTES)):
        read += piece
    return read.decode()


if __name__ == "__main__":
    os.chdir("/")  # a file system in which somebody started a lab can be unmounted all the same
    sys.exit(main(sys.argv))
