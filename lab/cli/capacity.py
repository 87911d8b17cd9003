"""`lab plan-capacity`: how many subnets and Elastic IPs a peak needs, and a topology to try it with."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lab.cli.options import AsJson, count
from lab.cli.show import bullet, print_json, say, table
from lab.errors import UsageError
from lab.kernel.invoker import runnable
from lab.kernel.outputs import write_output

if TYPE_CHECKING:
    from lab.capacity.demand import Demand, Place
    from lab.capacity.layout import Layout
    from lab.capacity.planning import CapacityPlan, LimitAtPeak, Quota

__all__ = ["register"]

_STDOUT = "-"
_LEFT_ALONE = (
    "Not planned: what servers keep (max_connections); what other functions and hosts hold of the same ENIs and ports, "
    "which belongs to --peak; ports per client, which AWS's NAT gateways have not."
)
_PEAK, _CARRIER = "The peak", "What may carry it"


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command("plan-capacity")(plan_capacity)


def plan_capacity(
    *,
    peak: Annotated[
        int | None,
        typer.Option(parser=count, help="Connections at the same time.", metavar="N", rich_help_panel=_PEAK),
    ] = None,
    per_second: Annotated[
        float | None,
        typer.Option(
            help="New connections a second; with --hold they make a peak.", metavar="R", rich_help_panel=_PEAK
        ),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(help="How long each connection is kept.", metavar="SECONDS", rich_help_panel=_PEAK),
    ] = None,
    port_hold: Annotated[
        int,
        typer.Option(
            help="How long a NAT keeps the port after that. AWS publishes nothing.",
            metavar="SECONDS",
            rich_help_panel=_PEAK,
        ),
    ] = 0,
    servers: Annotated[
        int,
        typer.Option(help="Servers, over which the connections spread evenly.", metavar="K", rich_help_panel=_PEAK),
    ] = 1,
    addresses: Annotated[
        int,
        typer.Option(
            help="Addresses of each server, such as a load balancer's zones: a unique destination each.",
            metavar="A",
            rich_help_panel=_PEAK,
        ),
    ] = 1,
    to: Annotated[
        str,
        typer.Option(
            help="Where the servers are: internet, vpc (no NAT gateway is on the way), s3 or dynamodb (by a gateway "
            "endpoint).",
            metavar="PLACE",
            rich_help_panel=_PEAK,
        ),
    ] = "internet",
    headroom: Annotated[
        int,
        typer.Option(
            help="The share of each limit to leave free at the peak.", metavar="PERCENT", rich_help_panel=_CARRIER
        ),
    ] = 20,
    nat_gateways: Annotated[
        int,
        typer.Option(
            help="At least so many, such as one for each availability zone.", metavar="N", rich_help_panel=_CARRIER
        ),
    ] = 1,
    elastic_ips_quota: Annotated[
        int,
        typer.Option(
            help="Your quota of Elastic IPs per NAT gateway; AWS's default is 2.",
            metavar="N",
            rich_help_panel=_CARRIER,
        ),
    ] = 2,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Write the topology; - is standard output, alone.", metavar="FILE|-"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The fewest NAT gateways, Elastic IPs and subnets that carry a peak, as a topology: `lab predict` turned round.

    \b
    lab plan-capacity --peak 130000
    lab plan-capacity --per-second 5000 --hold 30 --servers 2 -o planned.yaml
    lab plan-capacity --peak 130000 --to vpc
    lab plan-capacity --peak 130000 --headroom 0 -o - | less
    lab plan-capacity --peak 130000 --json | jq .quotas
    """
    from lab.capacity.demand import Demand
    from lab.capacity.planning import plan_capacity as smallest
    from lab.capacity.topology import PLANNED, topology_text

    if output == _STDOUT and as_json:
        raise UsageError("-o - --json: standard output is for one of them; the document has the topology in it")
    plan = smallest(
        Demand(
            peak=peak,
            per_second=per_second,
            hold_s=hold,
            port_hold_s=port_hold,
            servers=servers,
            addresses=addresses,
            to=cast("Place", to),
            headroom_percent=headroom,
            nat_gateways=nat_gateways,
            elastic_ips_quota=elastic_ips_quota,
        )
    )
    topology = topology_text(plan, output if output not in (None, _STDOUT) else PLANNED)
    if output == _STDOUT:
        typer.echo(topology, nl=False)
        return
    if output is not None:
        write_output("-o", output, topology.encode())
    if as_json:
        print_json(_document(plan, topology))
    else:
        _show(plan, output)


# ── For a person ────────────────────────────────────────────────────────────────────────────────────────────


def _show(plan: CapacityPlan, output: str | None) -> None:
    for line in _asked(plan.demand):
        say(line)
    say(f"needed: {_words(plan.layout)}", style="bold")
    say()
    _show_limiters(plan)
    say()
    for line in _room(plan):
        say(line)
    say()
    _show_quotas(plan.quotas)
    given = ", but for --elastic-ips-quota" if plan.layout.gateways else ""
    say(f"AWS's default quotas{given}; what the account has already counts as well.")
    say()
    say(_LEFT_ALONE)
    say()
    say("What else would do:")
    for alternative in _alternatives(plan):
        bullet(alternative)
    say()
    say(_next(output), style="dim")


def _asked(demand: Demand) -> Iterator[str]:
    to = demand.whom
    to += f", {demand.addresses} addresses each" if demand.addresses > 1 else ""
    if demand.little:
        held = f" and its port for {demand.port_hold_s:,} s more" if demand.port_hold_s else ""
        yield (
            f"{demand.per_second:,g} connections a second, each held for {demand.hold_s:g} s{held}: "
            f"{demand.little:,} at the same time"
        )
        if demand.peak is not None:
            binds = "the rate" if demand.little > demand.peak else "--peak"
            yield f"--peak is {demand.peak:,}: {binds} is the larger one and counts"
    yield f"a peak of {demand.connections:,} to {to}, {_free(demand)}"


def _free(demand: Demand) -> str:
    return f"{demand.headroom_percent} % of each limit left free" if demand.headroom_percent else "nothing left free"


def _words(layout: Layout) -> str:
    parts = ((layout.subnets, "subnet"), (len(layout.gateways), "NAT gateway"), (layout.elastic_ips, "Elastic IP"))
    subnets, gateways, eips = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
    return f"{subnets}, {gateways} with {eips}" if layout.gateways else f"{subnets}, no NAT gateway"


def _show_limiters(plan: CapacityPlan) -> None:
    to_each = "" if plan.demand.servers == 1 else ", to each server"
    to_each = to_each if plan.demand.addresses == 1 else ", to each address"
    table(
        ("at the peak", "#limit", "#held", "#free", "#free %"),
        (
            (_name(limit, to_each), limit.limit, limit.held, limit.free, f"{limit.free_percent:.1f}")
            for limit in plan.limits
        ),
    )


def _name(limit: LimitAtPeak, to_each: str) -> str:
    from lab.nodes.registry import kind_of

    if limit.elastic_ips:
        eips = "1 Elastic IP" if limit.elastic_ips == 1 else f"{limit.elastic_ips} Elastic IPs"
        return f"{limit.nodes[0]}, {eips}{to_each}"
    kind, count = kind_of(limit.kind), len(limit.nodes)
    return f"the {kind.words}" if count == 1 else f"each of {count} {kind.plural}"


def _room(plan: CapacityPlan) -> Iterator[str]:
    from lab.nodes.registry import kind_of

    yield f"carries {plan.capacity:,}; the next connection is dropped by {kind_of(plan.bottleneck).one}"
    eni, *nat = plan.reserve.values()
    yield f"in reserve: {eni:,} connections on Hyperplane ENIs{''.join(f', {each:,} on Elastic IPs' for each in nat)}"
    if plan.bare != plan.layout:
        yield f"with nothing left free: {_words(plan.bare)}"
    elif plan.demand.headroom_percent:
        yield "with nothing left free: the same"
    if plan.layout.gateways:
        yield (
            "AWS charges by the hour for NAT gateways and public IPv4 addresses, idle or not; nothing for subnets and "
            "Hyperplane ENIs."
        )
    else:
        yield "AWS charges nothing for subnets, Hyperplane ENIs and gateway endpoints."


def _show_quotas(quotas: tuple[Quota, ...]) -> None:
    table(
        ("quota", "#now", "#needed", ""),
        ((quota.name, quota.has, quota.needed, "raise it" if quota.must_be_raised else "") for quota in quotas),
    )


def _alternatives(plan: CapacityPlan) -> Iterator[str]:
    """What is cheaper, or needs no request to AWS."""
    demand, layout, within = plan.demand, plan.layout, plan.within_quota
    if layout.most_elastic_ips > demand.elastic_ips_quota:
        quota = f"the quota of {demand.elastic_ips_quota} per NAT gateway"
        yield f"Within {quota}: {_words(within)}." if within else f"Within {quota} nothing does."
    if plan.servers_within_quota not in (None, demand.servers):
        yield (
            f"Spread over {plan.servers_within_quota} unique destinations (addresses or ports of the server) it needs "
            "no larger quota of Elastic IPs."
        )
    if layout.gateways:
        yield from _without_nat_gateways(plan)
    if demand.to != "vpc":
        yield "The function outside the VPC, if it needs nothing there: no ENI, no NAT gateway."
    yield "Reuse: a connection for each execution environment in place of one for each invocation lowers the peak."


def _without_nat_gateways(plan: CapacityPlan) -> Iterator[str]:
    """Ways to servers past NAT gateways."""
    from lab.schema.limits import ENDPOINT_CONNECTIONS_PER_TARGET

    targets, interfaces = plan.private_link_targets, plan.private_link_interfaces
    subnets = "The subnet stays" if plan.layout.subnets == 1 else f"The {plan.layout.subnets} subnets stay"
    several = f", or one behind each of {interfaces} network interfaces, in a zone each" if interfaces else ""
    yield (
        f"PrivateLink: no NAT gateway and no Elastic IP. {subnets}, for connections still cross the Hyperplane ENIs; "
        f"the endpoint's load balancer carries {ENDPOINT_CONNECTIONS_PER_TARGET:,} to each target: {targets} with this "
        f"headroom{several}."
    )
    yield (
        "S3 and DynamoDB: a gateway endpoint, which has no limit and no price (--to s3). A server in the VPC, or in a "
        "peered one: ENIs alone (--to vpc)."
    )


def _next(output: str | None) -> str:
    if output is None:
        return f"next: -o planned.yaml writes the topology; {runnable('lab up planned.yaml')}"
    return f"next: {output} is the topology; {runnable(f'lab up {quote(output)}')}"


# ── For a program ───────────────────────────────────────────────────────────────────────────────────────────


def _document(plan: CapacityPlan, topology: str) -> dict[str, Any]:
    demand = plan.demand
    return {
        "schema": 1,
        "peak": demand.connections,
        "servers": demand.servers,
        "addresses": demand.addresses,
        "to": demand.to,
        "headroom_percent": demand.headroom_percent,
        "port_hold_s": demand.port_hold_s,
        "binding_input": "per_second" if demand.little > (demand.peak or 0) else "peak",
        "needed": _layout_document(plan.layout),
        "without_headroom": _layout_document(plan.bare),
        "within_quota": _layout_document(plan.within_quota) if plan.within_quota else None,
        "servers_within_quota": plan.servers_within_quota,
        "capacity": plan.capacity,
        "reserve": plan.reserve,
        "bottleneck": plan.bottleneck,
        "limits": [_limit_document(limit) for limit in plan.limits],
        "quotas": [
            {"name": quota.name, "now": quota.has, "needed": quota.needed, "raise": quota.must_be_raised}
            for quota in plan.quotas
        ],
        "topology": topology,
    }


def _layout_document(layout: Layout) -> dict[str, Any]:
    return {
        "subnets": layout.subnets,
        "elastic_ips": layout.elastic_ips,
        "nat_gateways": [
            {"subnets": gateway.subnets, "elastic_ips": gateway.elastic_ips} for gateway in layout.gateways
        ],
    }


def _limit_document(limit: LimitAtPeak) -> dict[str, Any]:
    return {
        "kind": limit.kind,
        "count": len(limit.nodes),
        "limit": limit.limit,
        "peak": limit.held,
        "free": limit.free,
        "free_percent": round(limit.free_percent, 1),
    }
