"""Labs as a whole: up, down, list, status."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import AsJson, LabName, TopologyFile
from lab.cli.show import clock, complain, notice, print_json, say, table

if TYPE_CHECKING:
    from lab.lab import Convergence, Lab

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (up, down, list_, status):
        app.command(command.__name__.rstrip("_"))(command)


def up(
    topology: TopologyFile,
    *,
    name: Annotated[
        str | None, typer.Option(help="Another name than the topology's: several labs run side by side.")
    ] = None,
    scale: Annotated[int, typer.Option(help="Divide every limit: 65,000 is 650 at 100.", metavar="N")] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan, in the order of making, and make nothing. Needs no root."),
    ] = False,
    disruptive: Annotated[
        bool,
        typer.Option("--disruptive", help="Change a lab that is up even if connections that are held break."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the lab that a topology describes, or make one that is up what the file has now.

    \b
    sudo lab up topologies/two_subnets.yaml
    sudo lab up topologies/two_subnets.yaml --scale 100 --name small
    lab up topologies/two_subnets.yaml --dry-run
    """
    if dry_run:
        _print_plan(topology, name, scale, as_json=as_json)
        return
    from lab.lab import Lab

    try:
        lab = Lab.up(topology, name=name, scale=scale, disruptive=disruptive, notice=notice)
    except KeyboardInterrupt:
        complain("interrupted")
        raise
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late: 130 would say that it is undone
    if as_json:
        print_json(_up(lab))
        return
    if lab.convergence is not None:
        _say_convergence(lab.name, lab.convergence)
        return
    if not lab.changed:
        say(f"lab {lab.name} is up already, just as {topology} has it")
        return
    say(f"lab {lab.name} is up: {len(lab.plan.namespaces)} namespaces, ip netns shows them as lab-{lab.name}-NODE")
    say(
        f"next: sudo lab burst --lab {lab.name} -n 1000; sudo lab status; sudo lab down --lab {lab.name}",
        style="dim",
    )


def _up(lab: Lab) -> dict[str, Any]:
    from lab.converge.summary import nodes_added, nodes_removed

    document = {"lab": lab.name, "changed": lab.changed, "namespaces": list(lab.plan.namespaces)}
    done = lab.convergence
    return document | {
        "converged": done is not None,
        "added": [] if done is None else [each.name for each in nodes_added(done.old, done.new)],
        "removed": [] if done is None else [each.name for each in nodes_removed(done.old, done.new)],
        "changes": [] if done is None else list(_summary(done)),
        "broken": [] if done is None else [each._asdict() for each in done.broken],
    }


def _summary(done: Convergence) -> tuple[str, ...]:
    from lab.converge.summary import summary

    return summary(done.old, done.new, done.difference, clock)


def _say_convergence(name: str, done: Convergence) -> None:
    say(f"lab {name} converged")
    for line in _summary(done):
        say(f"  {line}")
    for each in done.broken:
        notice(f"broken: {each}")


def _print_plan(topology: TopologyFile, name: str | None, scale: int, *, as_json: bool) -> None:
    from lab.nodes.build import build
    from lab.plan import describe
    from lab.plan.objects import plan_to_json
    from lab.topology import load, scaled

    plan = build(scaled(load(topology), scale), name)
    # Not through the console: a plan is text to compare and to grep, never wrapped.
    typer.echo(plan_to_json(plan) if as_json else describe(plan), nl=as_json)


def down(
    *,
    lab: LabName = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Take a lab away, all of it, by the plan that was recorded when it was made.

    \b
    sudo lab down
    sudo lab down --lab two-subnets
    sudo lab down --all
    """
    from lab.kernel.preflight import require_root
    from lab.lab import Lab

    require_root()
    labs = Lab.all() if everything else [Lab.find(lab)]
    for each in labs:
        ended = each.down(notice)
        say(f"lab {each.name} is gone")
        for resident in ended:
            notice(f"ended with it: {resident.command} ({resident.pid}) in {resident.namespace}")
    if not labs:
        say("no lab is up")


def list_(*, as_json: AsJson = False) -> None:
    """Every lab on this machine.

    \b
    sudo lab list
    sudo lab list --json
    """
    from lab.lab import Lab

    labs = Lab.all()
    if as_json:
        print_json([{"lab": each.name, "complete": each.complete, "nodes": len(each.plan.nodes)} for each in labs])
    elif labs:
        state = {True: "up", False: "half built, or of another version: lab down takes it away"}
        table(
            ("lab", "#nodes", "state"),
            ((each.name, len(each.plan.nodes), state[each.complete]) for each in labs),
        )
    else:
        say("no lab is up")


def status(*, lab: LabName = None, as_json: AsJson = False) -> None:
    """A lab's nodes and addresses, its limits, and the connections that hold a slot now.

    \b
    sudo lab status
    sudo lab status --lab two-subnets --json
    """
    from lab.lab import Lab
    from lab.topology.kinds import in_words

    found = Lab.find(lab)
    if lost := found.lost():
        notice(f"lab {found.name} has lost {', '.join(lost)}; take it down, then up again")
    document = _status(found)
    if as_json:
        print_json(document)
        return
    say(f"lab {found.name}", style="bold")
    table(
        ("node", "kind", "addresses"),
        ((each["node"], in_words(each["kind"]), " ".join(each["addresses"])) for each in document["nodes"]),
    )
    say()
    table(
        ("limiter", "for", "#limit", "#connections", "#refused", "#SYNs refused"),
        (
            (
                " ".join(filter(None, (each["node"], each["eip"]))),
                "everything" if each["destination"] is None else f"{each['destination']} {each['protocol']}",
                each["limit"],
                each["connections"],
                each["refused_connections"],
                each["refused_packets"],
            )
            for each in document["limits"]
        ),
    )
    say()
    table(
        ("connections of", "#admitted", "#established", "#closed", "#idle timeouts", "#resets sent"),
        (tuple(each.values()) for each in document["connections"]),
    )


def _status(lab: Lab) -> dict[str, Any]:
    readings = lab.readings() if lab.complete else ()
    counts = lab.connection_counts() if lab.complete else ()
    return {
        "lab": lab.name,
        "complete": lab.complete,
        "nodes": [
            {
                "node": node.name,
                "kind": node.kind,
                "namespace": node.namespace,
                "addresses": list(node.addresses),
            }
            for node in lab.plan.nodes
        ],
        "limits": [
            {
                "node": each.limiter.node,
                "kind": each.limiter.kind,
                "eip": each.limiter.eip,
                "destination": each.limiter.destination,
                "protocol": each.limiter.protocol,
                "limit": each.limiter.limit,
                "connections": each.in_use,
                "refused_connections": each.refused_connections,
                "refused_packets": each.refused_packets,
            }
            for each in readings
            if each.appeared
        ],
        "connections": [
            {
                "node": each.node,
                "admitted": each.admitted,
                "established": each.established,
                "closed": each.closed,
                "idle_timeouts": each.idle_timeouts,
                "resets_sent": each.resets_sent,
            }
            for each in counts
        ],
        "idle_timeouts": {each.node: each.idle_timeouts for each in counts},
    }
