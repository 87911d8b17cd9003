"""All commands by name, each loaded when it is asked for, and what becomes of their errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
import os
import sys
from typing import Any, cast

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_group

from lab.cli.rootless import as_typed, enter_sandbox
from lab.cli.show import complain
from lab.errors import KernelError, LabError

__all__ = ["COMMANDS", "app", "run"]

COMMANDS = {
    "up": "labs",
    "down": "labs",
    "reset": "labs",
    "list": "labs",
    "status": "labs",
    "burst": "burst",
    "invoke": "invoke",
    "metrics": "metrics",
    "watch": "watch",
    "why": "why",
    "report": "report",
    "impair": "impair",
    "capture": "capture",
    "graph": "graph",
    "exec": "inside",
    "shell": "inside",
    "sandbox": "inside",
    "validate": "topologies",
    "predict": "topologies",
    "schema": "topologies",
    "plan-capacity": "capacity",
    "runs": "runs",
    "compare": "runs",
}
"""Command → the module of `lab.cli` that has it, in the order in which `lab --help` lists them."""


class _Commands(Mapping[str, Any]):
    """Each command, loaded when it is asked for: `lab list` does not wait for the options of a burst."""

    def __getitem__(self, name: str) -> Any:
        app = Typer()
        import_module(f"lab.cli.{COMMANDS[name]}").register(app)
        command = get_group(app).commands[name]
        command.help = as_typed(command.help or "")
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast("dict[str, Any]", _Commands())


app = Typer(
    name="lab",
    cls=_Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help=as_typed("""
    AWS Lambda in a VPC, on this machine: Hyperplane ENI and NAT gateway connection limits, exact, at full scale.

    \b
    sudo lab up topologies/two_subnets.yaml        build it
    sudo lab burst -n 140000 --connect-timeout 3   140,000 invocations at once, and the verdict
    sudo lab exec checkout -- curl -s https://cache.example.com/
    sudo lab down                                  take it away
    """),
)
app.callback()(lambda: None)  # typer asks for a callback where no command is registered yet


def run() -> int:
    """Run the command that the arguments name; its exit status, as in `lab.errors`."""
    try:
        if os.geteuid() != 0:
            enter_sandbox(sys.argv[1:])
        app(prog_name="lab")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except LabError as error:
        complain(str(error))
        return error.exit_status
    except OSError as error:  # a full or read-only disk, a namespace that another program has removed
        complain(f"the system refused: {error}")
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        complain(f"the system refused: {error} (ulimit -u, pids.max)")
    return KernelError.exit_status
