"""The command line. Only this room prints and exits; what it says of a mistake is a sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
import signal
import sys
from types import FrameType
from typing import Any, cast

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_group

from lab.cli import streams
from lab.cli.show import complain
from lab.errors import KernelError, LabError

__all__ = ["app", "main"]

_INTERRUPTED = 130

_MODULES = {
    "up": "labs",
    "down": "labs",
    "reset": "labs",
    "list": "labs",
    "status": "labs",
    "burst": "burst",
    "metrics": "metrics",
    "watch": "watch",
    "why": "why",
    "report": "report",
    "impair": "impair",
    "capture": "capture",
    "graph": "graph",
    "exec": "inside",
    "shell": "inside",
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
        import_module(f"lab.cli.{_MODULES[name]}").register(app)
        return get_group(app).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


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
    help="""
    AWS Lambda in a VPC, on this machine: Hyperplane ENI and NAT gateway connection limits, exact, at full scale.

    \b
    sudo lab up topologies/two_subnets.yaml        build it
    sudo lab burst -n 140000 --connect-timeout 3   140,000 invocations at once, and the verdict
    sudo lab exec checkout -- curl -s https://cache.example.com/
    sudo lab down                                  take it away
    """,
)
app.callback()(lambda: None)  # typer asks for a callback where no command is registered yet


def main() -> None:
    """The `lab` command: exit status as in `lab.errors`."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    streams.prepare()
    try:
        app(prog_name="lab")
    except LabError as error:
        complain(str(error))
        sys.exit(error.exit_status)
    except OSError as error:  # a full or read-only disk, a namespace that another program has removed
        complain(f"the system refused: {error}")
        sys.exit(KernelError.exit_status)
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)  # Python before 3.12 has this for what is raised in __set_name__, while modules load
    except KeyboardInterrupt:  # before typer was there to take it
        sys.exit(_INTERRUPTED)
    finally:
        streams.finish()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the exit status is known: another Ctrl-C must not change it


def _as_interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
