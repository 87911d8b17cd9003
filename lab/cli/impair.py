"""`lab impair`: faults on the way, set, listed and cleared while the lab is up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import AsJson, LabName
from lab.cli.show import print_json, say, table
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.impair.faults import FaultOptions, Faults, Impairment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(impair)


def impair(
    node: Annotated[
        str | None,
        typer.Argument(help="A node, as `lab status` has it, or its name in the topology.", metavar="NODE"),
    ] = None,
    *,
    interface: Annotated[
        str | None,
        typer.Option(help="One of the node's interfaces; all but lo unless given.", metavar="NAME"),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(help="Send no faster than this: 10mbit, 500kbit, 1gbit.", metavar="RATE"),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="Lose so many of the packets that it sends; needs netem.", metavar="PERCENT"),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(help="Delay what it sends: 100ms, 1.5s, 250us; needs netem.", metavar="TIME"),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(help="How much the latency varies, up and down; needs netem.", metavar="TIME"),
    ] = None,
    silence: Annotated[bool, typer.Option("--silence", help="Drop everything that arrives at the node.")] = False,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Take back what was set on the node; without a node, anywhere in the lab."),
    ] = False,
    lab: LabName = None,
    as_json: AsJson = False,
) -> None:
    """Put faults on the way while the lab is up: a slow, late or lossy link, a silent node. Without options, list them.

    Rate, loss and latency are for what the node sends, --silence is for what arrives. Setting again replaces.

    \b
    sudo lab impair cache --silence           nothing reaches the server any more
    sudo lab impair natgw --interface inet --rate 10mbit
    sudo lab impair resolver --latency 200ms --jitter 50ms --loss 1
    sudo lab impair                           what is set, what it has dropped
    sudo lab impair cache --clear
    sudo lab impair --clear
    """
    from lab.impair.faults import Faults, loss_of, time_of
    from lab.lab import Lab

    options: FaultOptions = {
        "rate": rate,
        "loss_percent": None if loss is None else loss_of(loss),
        "latency_s": None if latency is None else time_of(latency, "--latency"),
        "jitter_s": None if jitter is None else time_of(jitter, "--jitter"),
        "silence": silence,
    }
    _require_sense(node, interface, Faults.of(**options), clear=clear)
    live_lab = Lab.find(lab).require_readable()
    if clear:
        _report(live_lab.clear_impairments(node, interface=interface), "cleared", as_json=as_json)
    elif node is not None:
        _report(live_lab.impair(node, interface=interface, **options), "set", as_json=as_json)
    else:
        _list(live_lab.impairments(), as_json=as_json)


_SETTING = "--rate, --loss, --latency, --silence"


def _require_sense(node: str | None, interface: str | None, faults: Faults, *, clear: bool) -> None:
    """Refuse options that do not go together, before a lab is looked for."""
    if clear and faults:
        raise UsageError(f"--clear and {faults}: one after the other")
    if node is None and (faults or interface is not None):
        what = faults or f"--interface {interface}"
        raise UsageError(f"{what}: on which node? lab status lists them")
    if node is not None and not faults and not clear:
        raise UsageError(f"nothing to do with {node}; give {_SETTING} or --clear")


def _report(impairments: Sequence[Impairment], done: str, *, as_json: bool) -> None:
    if as_json:
        print_json([impairment.to_json() for impairment in impairments])
        return
    for impairment in impairments:
        say(f"{impairment.node} {impairment.interface}: {impairment.faults} {done}")
    if not impairments:
        say("nothing was set")


def _list(impairments: Sequence[Impairment], *, as_json: bool) -> None:
    if as_json:
        print_json([impairment.to_json() for impairment in impairments])
    elif impairments:
        table(
            ("node", "interface", "set", "#dropped"),
            (
                (impairment.node, impairment.interface, str(impairment.faults), impairment.dropped_packets)
                for impairment in impairments
            ),
        )
    else:
        say("nothing is set")
