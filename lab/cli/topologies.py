"""Topology files without a lab: validate, predict, schema. No root, no kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import AsJson, TopologyFile
from lab.cli.show import notice, number, print_json, say, table
from lab.errors import TopologyError
from lab.schema.limits import DESCRIPTORS_AT_START

if TYPE_CHECKING:
    from lab.capacity.predict import LimiterLoad, Prediction
    from lab.topology import Topology

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (validate, predict, schema):
        app.command()(command)


def validate(
    topologies: Annotated[list[Path], typer.Argument(help="Topology files.", metavar="TOPOLOGY.yaml...")],
) -> None:
    """Check topology files; every fault of each is listed, and every part that has no effect.

    \b
    lab validate topologies/*.yaml
    """
    from lab.topology import loaded, text_of

    faults = []
    for path in topologies:
        try:
            without_effect = loaded(text_of(path), str(path)).without_effect
        except TopologyError as error:
            faults.append(str(error))
        else:
            say(f"{path}: valid")
            for line in without_effect:
                notice(line)
    if faults:
        raise TopologyError("\n".join(faults))


def predict(
    topology: TopologyFile,
    connections: Annotated[
        int, typer.Option("-n", help="Connections, all held at the same time.", metavar="CONNECTIONS")
    ],
    *,
    function: Annotated[
        list[str] | None,
        typer.Option(help="Which function, the first unless given; several take turns.", metavar="FUNCTION"),
    ] = None,
    client: Annotated[str | None, typer.Option(help="Which client, in place of a function.")] = None,
    server: Annotated[str | None, typer.Option(help="Which server; the first unless given.")] = None,
    scale: Annotated[int, typer.Option(help="Divide every limit.", metavar="N")] = 1,
    connect_timeout: Annotated[
        float, typer.Option(help="How long clients send SYNs, in seconds; it matters where ENIs grow.")
    ] = 30.0,
    connections_per_environment: Annotated[
        int, typer.Option(help="How many connections an execution environment makes.", metavar="N")
    ] = 100,
    descriptors: Annotated[
        int | None,
        typer.Option(help="How many files and sockets an environment, or a client, may have open.", metavar="N"),
    ] = None,
    descriptors_at_start: Annotated[
        int, typer.Option(help="Of them, open before the first connection.", metavar="N")
    ] = DESCRIPTORS_AT_START,
    as_json: AsJson = False,
) -> None:
    """What a burst will show, and which limit binds, by arithmetic from the topology.

    \b
    lab predict topologies/two_subnets.yaml -n 140000
    lab predict topologies/two_subnets.yaml -n 3000 --connections-per-environment 1500 --descriptors 1024
    """
    from lab.burst.load import Load
    from lab.capacity.predict import choose_source
    from lab.capacity.predict import predict as predict_burst
    from lab.nodes.registry import kind_of
    from lab.topology import load, scaled

    made = scaled(load(topology), scale)
    each = Load(
        connections=1,
        client=client,
        connections_per_environment=connections_per_environment,
        descriptors=descriptors,
        descriptors_at_start=descriptors_at_start,
    ).descriptor_limit
    prediction = predict_burst(
        made,
        connections,
        source=choose_source(made, None, client) if client else function or None,
        server=server,
        connect_timeout_s=connect_timeout,
        per_environment=connections_per_environment,
        descriptors=each.connections if each else None,
    )
    if as_json:
        print_json(_document(prediction, made))
        return
    say(f"of {number(prediction.offered)} connections, {number(prediction.established)} will be established")
    if prediction.limiters:
        table(
            ("limiter", "kind", "#limit", "#offered", "#refused"),
            (
                (
                    _name(made, limiter),
                    kind_of(limiter.kind).words,
                    limiter.limit,
                    limiter.offered,
                    limiter.refused,
                )
                for limiter in prediction.limiters
            ),
        )
    if len(prediction.functions) > 1 or prediction.throttled:
        table(
            ("function", "#offered", "#throttled", "#established"),
            ((each.function, each.offered, each.throttled, each.established) for each in prediction.functions),
        )
    if prediction.emfile:
        whose = f"{client} has" if client else "their execution environment has"
        say(f"for {number(prediction.emfile)} {whose} no descriptor left (EMFILE)")
    if prediction.emfile is None and prediction.established is not None:
        say(
            f"how many of the others find no descriptor (EMFILE), and how many no port of {client}, depends on how "
            "fast they come"
        )
    for why in prediction.dead_ends:
        say(f"whatever the limits, {why}")
    say(_threshold(prediction), style="bold")


def _threshold(prediction: Prediction) -> str:
    from lab.nodes.registry import kind_of

    if prediction.unknown is not None:
        return prediction.unknown
    if prediction.drop_threshold is None:
        return "no limit of the network binds" if prediction.emfile else "no limit binds"
    first = f"the first connection is dropped with {number(prediction.drop_threshold)} held"
    if prediction.bottleneck is None:
        return first
    return f"{first}, by {kind_of(prediction.bottleneck).one}" if not prediction.dead_ends else first


def _name(topology: Topology, limiter: LimiterLoad) -> str:
    """Its node, and what it counts apart from others there."""
    address = _address(topology, limiter)
    return " ".join(filter(None, (limiter.node, limiter.scope.client, f"to {address}" if address else None)))


def _address(topology: Topology, limiter: LimiterLoad) -> str | None:
    """The address that it is for, where its server has several and each has a limit of its own."""
    scope = limiter.scope
    if scope.answer is None:
        return None
    if any(exit_.stands_for == scope.destination for exit_ in topology.exits):
        return f"address {scope.answer + 1} of its endpoint"  # the plan chooses it
    addresses = next(server.addresses for server in topology.servers if server.name == scope.destination)
    return str(sorted(addresses)[scope.answer])


def _document(prediction: Prediction, topology: Topology) -> dict[str, Any]:
    return {
        "schema": 1,
        "offered": prediction.offered,
        "established": prediction.established,
        "drop_threshold": prediction.drop_threshold,
        "bottleneck": prediction.bottleneck,
        "emfile": prediction.emfile,
        "dead_ends": list(prediction.dead_ends),
        "unknown": prediction.unknown,
        "limits": [
            {
                "node": limiter.node,
                "kind": limiter.kind,
                "address": _address(topology, limiter),
                "limit": limiter.limit,
                "peak": limiter.admitted,
                "dropped_connections": limiter.refused,
            }
            for limiter in prediction.limiters
        ],
    }


def schema() -> None:
    """The JSON schema of topology files, for editors.

    \b
    lab schema > topologies/schema.json
    """
    from lab.topology import schema_text

    typer.echo(schema_text(), nl=False)
