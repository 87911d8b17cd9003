"""Into a node: run a program there, or stay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import LabName
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["register"]

Node = Annotated[
    str, typer.Argument(help="A node, as `lab status` has it, or its name in the topology.", metavar="NODE")
]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    # What follows is the command's own, dashes and all.
    of_its_own = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("exec", context_settings=of_its_own)(exec_)
    app.command("shell")(shell)
    app.command("sandbox", context_settings=of_its_own)(sandbox)


def exec_(
    node: Node,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.", metavar="COMMAND...")],
    *,
    lab: LabName = None,
) -> None:
    """Run a command in a node; its exit status is the command's.

    It is any program of this machine, and ends with the lab. In a function's fleet, names resolve through the service
    VPC's resolver, with nothing of the host's touched, and programs trust the lab's servers over HTTPS (SSL_CERT_FILE
    and its like). In a server with `embedded: false` it may listen on the port.

    \b
    sudo lab exec checkout -- dig +short cache.example.com
    sudo lab exec checkout -- curl -s https://cache.example.com/
    sudo lab exec eni-private-a -- conntrack -C
    """
    _become(lab, node, _words(command))


def shell(node: Node, *, lab: LabName = None) -> None:
    """Open a shell in a node; `exit` leaves it.

    \b
    sudo lab shell eni-private-a
    """
    _become(lab, node, _shell())


def sandbox(
    command: Annotated[
        list[str] | None,
        typer.Argument(help="A command and its arguments; without one, a shell.", metavar="COMMAND..."),
    ] = None,
) -> None:
    """Run a program in your sandbox, where labs are without root; `ip netns` and the like see them only there.

    Root needs no sandbox: the program is run as it is.

    \b
    lab sandbox -- ip netns
    lab sandbox -- ip netns exec lab-two-subnets-eni-private-a conntrack -L
    lab sandbox
    """
    from lab.sandbox.entering import become

    become(_words(command or []) or _shell())


def _words(command: Sequence[str]) -> list[str]:
    """The command, without the two dashes that may stand before it."""
    return [word for index, word in enumerate(command) if index or word != "--"]


def _shell() -> list[str]:
    return [os.environ.get("SHELL", "/bin/sh")]


def _become(lab: str | None, node: str, command: Sequence[str]) -> None:
    from lab.lab import Lab

    if not command:
        raise UsageError("which command? lab exec NODE -- COMMAND")
    Lab.find(lab).require_readable().exec(node, command)
