"""Labs as a whole: up, down, list, status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import AsJson, LabName, TopologyFile
from lab.cli.show import STATES, clock, complain, held_line, notice, print_json, say, states, table
from lab.errors import LabError, UsageError
from lab.interrupts import ignore
from lab.kernel.invoker import in_sandbox, labs_of_root, runnable

if TYPE_CHECKING:
    from lab.converge.change import Convergence
    from lab.lab import Lab

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (up, down, reset, list_, status):
        app.command(command.__name__.rstrip("_"))(command)


def up(
    topology: TopologyFile,
    *,
    name: Annotated[
        str | None, typer.Option(help="Another name than the topology's: several labs run side by side.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Divide every limit: 65,000 is 650 at 100; unless given, 1, or what a lab that is up has.", metavar="N"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan, in the order of making, and make nothing; of a lab that is up, which takes root, "
            "what would change.",
        ),
    ] = False,
    disruptive: Annotated[
        bool,
        typer.Option("--disruptive", help="Change a lab that is up even if connections that are held break."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Make again what a lab that is up has lost: processes, interfaces, addresses, routes, tables, "
            "namespaces.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the lab that a topology describes, or make one that is up what the file has now.

    \b
    sudo lab up topologies/two_subnets.yaml
    sudo lab up topologies/two_subnets.yaml --scale 100 --name small
    lab up topologies/two_subnets.yaml --dry-run
    """
    if dry_run and repair:
        raise UsageError("--dry-run --repair: what would be mended is what `lab status` says; one of them")
    if dry_run:
        _dry_run(topology, name, scale, as_json=as_json)
        return
    from lab.lab import Lab

    try:
        lab = Lab.up(topology, name=name, scale=scale, disruptive=disruptive, repair=repair, notice=notice)
    except KeyboardInterrupt:
        complain("interrupted")
        raise
    ignore()  # everything is built: exit status 130 would say that it was undone
    if as_json:
        from lab.converge.summary import to_json

        print_json(to_json(lab.plan, lab.convergence, clock, changed=lab.changed))
        return
    if lab.convergence is not None:
        _say_change(f"lab {lab.name} converged", lab.convergence, "broken")
        return
    if not lab.changed:
        _say_unchanged(lab.name, topology)
        return
    say(f"lab {lab.name} is up: {len(lab.plan.namespaces)} namespaces, ip netns shows them as lab-{lab.name}-NODE")
    following = (f"lab burst --lab {lab.name} {_burst(lab)}", "lab status", f"lab down --lab {lab.name}")
    say(f"next: {'; '.join(map(runnable, following))}", style="dim")


def _burst(lab: Lab) -> str:
    """The options of a burst that goes a tenth beyond the first limit, in two digits, where there is one."""
    from math import ceil, log10

    from lab.diagnosis.thresholds import threshold
    from lab.nodes.proposals import Question

    topology = lab.topology
    held = threshold(topology, Question(topology.sources[0].name, topology.servers[0].name)).held
    if not held:
        return "-n 1000"
    beyond = held + ceil(held / 10)
    unit = 10 ** max(0, int(log10(beyond)) - 1)
    return f"-n {ceil(beyond / unit) * unit} --connect-timeout 3"


def _say_change(headline: str, change: Convergence, broken: str) -> None:
    from lab.converge.summary import summary

    say(headline)
    for line in summary(change.old, change.new, change.difference, clock):
        say(f"  {line}")
    for breakage in change.broken:
        notice(f"{broken}: {breakage}")


def _say_unchanged(name: str, topology: Path) -> None:
    say(f"lab {name} is up already, just as {topology} has it")


def _dry_run(topology: Path, name: str | None, scale: int | None, *, as_json: bool) -> None:
    from lab.converge.change import Convergence
    from lab.converge.summary import to_json
    from lab.lab import Lab
    from lab.plan import describe
    from lab.plan.objects import plan_to_json

    planned = Lab.dry_run(topology, name=name, scale=scale)
    if not isinstance(planned, Convergence):
        # Not through the console: a plan is text to compare and to grep, never wrapped.
        typer.echo(plan_to_json(planned) if as_json else describe(planned), nl=as_json)
    elif as_json:
        print_json(to_json(planned.new, planned or None, clock, changed=bool(planned)))
    elif planned:
        _say_change(f"lab {planned.old.lab} would converge", planned, "would break")
    else:
        _say_unchanged(planned.old.lab, topology)


def down(
    *,
    lab: LabName = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Take a lab away, all of it, by the plan that was recorded when it was made, or by its name without one.

    \b
    sudo lab down
    sudo lab down --lab two-subnets
    sudo lab down --all
    """
    from lab.lab import Lab

    labs = Lab.all(to_take_down=True) if everything else [Lab.find(lab, to_take_down=True)]
    failed: list[LabError | OSError] = []
    for live_lab in labs:
        try:
            ended = live_lab.down(notice)
        except (LabError, OSError) as refused:  # the others go all the same
            failed.append(refused)
            continue
        say(f"lab {live_lab.name} is gone")
        for resident in ended:
            notice(f"ended with it: {resident.command} ({resident.pid}) in {resident.namespace}")
    if not labs:
        say("no lab is up")
    for failure in failed[1:]:
        complain(str(failure))
    if failed:
        raise failed[0]
    if everything and in_sandbox():
        from lab.sandbox.entering import end_with_this_command

        end_with_this_command()


def reset(*, lab: LabName = None, as_json: AsJson = False) -> None:
    """Forget all connections of a lab that is up, as if it had just been made; counters and metrics go on.

    A program that holds such a connection gets an RST when it goes on.

    \b
    sudo lab reset
    sudo lab reset --lab two-subnets --json
    """
    from lab.lab import Lab
    from lab.nodes.diagnosis import connections

    forgotten = Lab.find(lab).reset()
    if as_json:
        print_json(forgotten.to_json())
        return
    say(f"lab {forgotten.lab} has forgotten {connections(forgotten.connections)}")
    for reading in forgotten.readings:
        say(f"  {held_line(reading)}")


def list_(*, as_json: AsJson = False) -> None:
    """Every lab of yours on this machine: root's, or those of a user without root.

    \b
    sudo lab list
    sudo lab list --json
    """
    from lab.lab import Lab

    labs = [(lab, _listed(lab)) for lab in Lab.all() if not lab.gone]
    if as_json:
        print_json([listed for _, listed in labs])
        return
    if labs:
        table(("lab", "#nodes", "state"), ((lab.name, listed["nodes"], _state(lab, listed)) for lab, listed in labs))
    else:
        say("no lab is up")
    for fault in filter(None, (listed["fault"] for _, listed in labs)):
        say(fault)
    if of_root := labs_of_root():
        notice(f"{'one lab is' if of_root == 1 else f'{of_root} labs are'} root's: sudo lab list")


def _listed(lab: Lab) -> dict[str, Any]:
    fault, lost = lab.fault, lab.lost(at_once=True)
    nodes = 0 if fault else len(lab.plan.nodes)
    return {"lab": lab.name, "complete": lab.complete, "nodes": nodes, "lost": lost, "fault": fault and str(fault)}


def _state(lab: Lab, listed: dict[str, Any]) -> str:
    if listed["fault"]:
        return "damaged, or of another version: lab down takes it away"
    if not listed["complete"] and (lack := lab.unfinished) is not None:
        return lack.removeprefix("is ")
    return f"up, but has lost {', '.join(listed['lost'])}" if listed["lost"] else "up"


def status(*, lab: LabName = None, as_json: AsJson = False) -> None:
    """A lab's nodes and addresses, its limits, and the connections that hold a slot now.

    \b
    sudo lab status
    sudo lab status --lab two-subnets --json
    """
    from lab.lab import Lab
    from lab.nodes.registry import kind_of

    live_lab = Lab.find(lab).require_readable()
    now = live_lab.status()
    if not now.complete and (lack := live_lab.unfinished) is not None:
        notice(f"lab {live_lab.name} {lack}")
    if now.lost:
        notice(f"{live_lab.has_lost(now.lost)}; {live_lab.way_out}")
    if as_json:
        print_json(now.to_json())
        return
    say(f"lab {live_lab.name}", style="bold")
    table(
        ("node", "kind", "addresses"),
        ((node.name, kind_of(node.kind).words, " ".join(node.addresses)) for node in now.plan.nodes),
    )
    say()
    table(
        ("limiter", "for", "#limit", "#connections", *STATES, "#refused", "#SYNs refused"),
        (
            (
                " ".join(filter(None, (reading.limiter.node, reading.limiter.share))),
                f"{reading.limiter.towards} {reading.limiter.protocol}" if reading.limiter.towards else "everything",
                reading.limiter.limit,
                reading.in_use,
                *states(reading.fill),
                reading.refused_connections,
                reading.refused_packets,
            )
            for reading in now.readings
        ),
    )
    for reading in now.readings:
        if reading.fill and reading.fill.half_open:
            say(held_line(reading))
    say()
    if now.ports:
        table(
            ("ephemeral ports of", "from", "to", "#ports", "#in use"),
            (
                (
                    each.node,
                    str(each.address),
                    "every server, udp" if each.destination is None else f"{each.destination} {each.protocol}",
                    each.ports,
                    each.in_use,
                )
                for each in now.ports
            ),
        )
        say()
    table(
        ("connections of", "#admitted", "#established", "#closed", "#idle timeouts", "#forgotten", "#resets sent"),
        (
            (name, node.admitted, node.established, node.closed, node.idle_timeouts, node.forgotten, node.resets_sent)
            for name, node in now.connections.items()
        ),
    )
