"""The smallest layout for a peak: what it promises, `predict` must find in the topology that it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.capacity.demand import HEADROOM_PERCENT, NAT_EIPS_QUOTA, Demand, Place
from lab.capacity.layout import Gateway
from lab.capacity.planning import CapacityPlan, plan_capacity
from lab.capacity.predict import predict
from lab.capacity.topology import planned_topology, topology_text
from lab.errors import UsageError
from lab.graph import draw, to_text
from lab.nodes.build import build
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.topology import Subnet, Topology, hyperplane_enis, load, load_text
from lab.topology.draft import draft
from lab.topology.unused import unused
from tests.support.cli import Run
from tests.support.examples import examples

ENI, EIP = 65_000, 55_000


def planned(peak: int, **wanted: Any) -> CapacityPlan:
    """A plan with nothing left free, unless wanted otherwise."""
    return plan_capacity(Demand(**{"peak": peak, "headroom_percent": 0, **wanted}))


def topology_of(plan: CapacityPlan) -> Topology:
    """What `lab up` reads."""
    return load_text(topology_text(plan))


# ── predict as the judge ────────────────────────────────────────────────────────────────────────────────────


def starting_with(topology: Topology, turn: int) -> Topology:
    """The same with another of its subnets first."""
    (function,) = topology.functions
    turn %= len(function.subnets)
    subnets = function.subnets[turn:] + function.subnets[:turn]
    return topology.model_copy(update={"functions": (function.model_copy(update={"subnets": subnets}),)})


def refuses(topology: Topology, connections: int, turn: int = 0) -> str | None:
    """What drops the first of so many connections, spread evenly over the servers; None if all are established.

    Each server's burst goes on where the last one ended: with the ENI whose turn it is, beside what ENIs hold by then.
    """
    held = Counter[str]()
    share, more = divmod(connections, len(topology.servers))
    for index, server in enumerate(reversed(topology.servers), 1):
        here = share + (index > len(topology.servers) - more)
        if here:
            made = starting_with(topology, turn)
            found = predict(made, here, server=server.name, in_use=lambda scope: held[scope.node])
            if found.bottleneck:
                return found.bottleneck
            held.update({each.node: each.admitted for each in found.limiters if each.kind == "hyperplane_eni"})
            turn += here
    return None


def refusals(topology: Topology, connections: int) -> set[str | None]:
    """The same for each subnet that could have the first turn."""
    return {refuses(topology, connections, turn) for turn in range(len(hyperplane_enis(topology)))}


def with_headroom(topology: Topology, percent: int) -> Topology:
    """The same, of each limit only what is not to be left free."""
    eni = topology.hyperplane_eni.model_copy(update={"connection_limit": ENI * (100 - percent) // 100})
    eip = {"connections_per_destination": EIP * (100 - percent) // 100}
    gateways = tuple(each.model_copy(update=eip) for each in topology.nat_gateways)
    vpc = topology.vpcs[0].model_copy(update={"nat_gateways": gateways})
    return topology.model_copy(update={"hyperplane_eni": eni, "vpc": vpc})


def with_one_subnet_less(topology: Topology) -> Iterator[Topology]:
    """Each topology that lacks one of the function's subnets, but not a NAT gateway."""
    (function,) = topology.functions
    routes = {each.name: each.default_route for each in topology.subnets}
    shared = Counter(routes[each] for each in function.subnets)
    for index, subnet in enumerate(function.subnets):
        if shared[routes[subnet]] > 1:
            fewer = function.subnets[:index] + function.subnets[index + 1 :]
            yield topology.model_copy(update={"functions": (function.model_copy(update={"subnets": fewer}),)})


def with_one_eip_less(topology: Topology) -> Iterator[Topology]:
    """Each topology that lacks one Elastic IP of a NAT gateway with several."""
    gateways = topology.nat_gateways
    for index, each in enumerate(gateways):
        if each.elastic_ips > 1:
            one_less = each.model_copy(update={"elastic_ips": each.elastic_ips - 1})
            vpc = topology.vpcs[0].model_copy(
                update={"nat_gateways": (*gateways[:index], one_less, *gateways[index + 1 :])}
            )
            yield topology.model_copy(update={"vpc": vpc})


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    """Any peak that one function carries."""
    headroom = draw(st.integers(0, 99) | st.just(0) | st.just(HEADROOM_PERCENT))
    most = 16 * ENI * (100 - headroom) // 100
    return Demand(
        peak=draw(st.integers(1, most) | st.integers(1, 16).map(lambda share: most * share // 16)),
        servers=draw(st.integers(1, 3) | st.integers(1, 25)),
        addresses=draw(st.just(1) | st.integers(1, 8)),
        headroom_percent=headroom,
        nat_gateways=draw(st.just(1) | st.integers(1, 4)),
    )


@examples(60)
@given(demands())
def test_carries_its_capacity_and_not_one_more(demand: Demand) -> None:
    """The topology carries peak and capacity, whichever subnet is first; one more is dropped where the plan says."""
    plan = plan_capacity(demand)
    made = topology_of(plan)
    assert plan.capacity >= demand.connections
    assert refusals(made, plan.capacity) == {None}
    if demand.servers == 1:
        assert refuses(made, plan.capacity + 1) == plan.bottleneck
    one_more = refusals(made, plan.capacity + 1)
    assert plan.bottleneck in one_more
    assert one_more <= {plan.bottleneck, None}
    # Only where NAT gateways differ, or share unevenly, may the first turn decide about a single connection.
    assert None not in one_more or len(plan.layout.gateways) > 1


@examples(20)
@given(demands())
def test_smallest(demand: Demand) -> None:
    """It leaves the headroom free at the peak, and with one subnet or one Elastic IP less it would not."""
    made = with_headroom(topology_of(plan_capacity(demand)), demand.headroom_percent)
    assert refusals(made, demand.connections) == {None}
    for smaller in (*with_one_subnet_less(made), *with_one_eip_less(made)):
        turns = range(len(hyperplane_enis(smaller)))
        assert any(refuses(smaller, demand.connections, turn) for turn in turns)


@examples(150)
@given(demands())
def test_lower_bounds(demand: Demand) -> None:
    """No layout at all is below these sums; with one NAT gateway they are met exactly."""
    layout = plan_capacity(demand).layout
    usable = 100 - demand.headroom_percent
    to_one = -(-demand.connections // demand.servers)
    subnets = -(-demand.connections // (ENI * usable // 100))
    rounds, rest = divmod(to_one, layout.subnets * demand.addresses)
    eips = -(-(rounds * layout.subnets + min(rest, layout.subnets)) // (EIP * usable // 100))
    assert len(layout.gateways) >= demand.nat_gateways
    assert layout.subnets >= subnets
    assert layout.elastic_ips >= eips
    if len(layout.gateways) == 1:
        assert (layout.subnets, layout.elastic_ips) == (subnets, eips)
    else:
        assert eips > 8 or demand.nat_gateways > 1


@examples(100)
@given(demands())
def test_what_is_left_at_the_peak(demand: Demand) -> None:
    """Each limiter's line is what `predict` says of the fullest of its kind, and keeps the headroom."""
    plan = plan_capacity(demand)
    made = topology_of(plan)
    to_one = -(-demand.connections // demand.servers)
    eni, *gateways = plan.limits
    turns = range(plan.layout.subnets)
    of_all = [
        {each.node: each for each in sorted(found.limiters, key=lambda each: each.offered)}
        for found in (predict(starting_with(made, turn), to_one) for turn in turns)
    ]
    for limit, gateway in zip(gateways, made.nat_gateways, strict=True):
        assert limit.nodes == (gateway.node,)
        assert limit.held == max(limiters[gateway.node].offered for limiters in of_all)
        assert limit.limit == of_all[0][gateway.node].limit
    assert eni.nodes == tuple(known.name for known in hyperplane_enis(made))
    assert eni.held * len(eni.nodes) >= demand.connections > (eni.held - 1) * len(eni.nodes)
    for limit in plan.limits:
        assert limit.free_percent >= demand.headroom_percent
        assert limit.free + limit.held == limit.limit


@examples(20)
@given(demands(), st.sampled_from(("vpc", "s3", "dynamodb")))
def test_past_nat_gateways(demand: Demand, to: Place) -> None:
    """To a server in the VPC, and by a gateway endpoint, the fewest ENIs carry the peak, and nothing else limits it."""
    demand = replace(demand, to=to, servers=min(2, demand.servers), addresses=1, nat_gateways=1)
    plan = plan_capacity(demand)
    made = topology_of(plan)
    assert not made.nat_gateways
    assert not unused(draft(made.model_dump(mode="json", by_alias=True, exclude_none=True)))
    assert [limit.kind for limit in plan.limits] == ["hyperplane_eni"]
    assert refuses(made, plan.capacity) is None
    assert refuses(made, plan.capacity + 1) == plan.bottleneck == "hyperplane_eni"
    tight = with_headroom(made, demand.headroom_percent)
    assert refuses(tight, demand.connections) is None
    assert all(refuses(smaller, demand.connections) for smaller in with_one_subnet_less(tight))


@examples(20)
@given(demands())
def test_network_interfaces_of_an_endpoint(demand: Demand) -> None:
    """As many as are said would carry the peak with a target each, and one less would not."""
    plan = plan_capacity(replace(demand, servers=1, addresses=1))
    if (interfaces := plan.private_link_interfaces) is None:
        return
    peak, usable = plan.demand.connections, plan.demand.usable(EIP)
    assert predict(behind_an_endpoint(topology_of(plan), interfaces, usable), peak).drop_threshold is None
    fewer = predict(behind_an_endpoint(topology_of(plan), interfaces - 1, usable), peak)
    assert fewer.bottleneck == "interface_endpoint"


def behind_an_endpoint(topology: Topology, interfaces: int, limit: int) -> Topology:
    """The same with an interface endpoint for its server, in so many subnets of its own."""
    home = topology.vpcs[0]
    subnets = tuple(Subnet(name=f"zone-{number}", cidr=f"10.0.{100 + number}.0/24") for number in range(interfaces))
    endpoint = InterfaceEndpoint(
        name="e", subnets=[each.name for each in subnets], server="cache", connections_per_target=limit
    )
    vpc = home.model_copy(update={"subnets": (*home.subnets, *subnets), "interface_endpoints": (endpoint,)})
    return topology.model_copy(update={"vpc": vpc})


# ── Known results ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("addresses", "elastic_ips"), [(1, 8), (2, 4), (3, 3), (4, 2), (8, 1)])
def test_addresses_of_the_server(addresses: int, elastic_ips: int) -> None:
    """430,000 connections to a server with more addresses need so many fewer of the eight Elastic IPs."""
    plan = planned(430_000, addresses=addresses)
    assert (plan.layout.elastic_ips, plan.layout.subnets) == (elastic_ips, 7)
    (server,) = topology_of(plan).servers
    assert len(server.addresses) == addresses


@pytest.mark.parametrize(
    ("peak", "subnets", "elastic_ips", "bottleneck"),
    [
        (1, 1, 1, "nat_gateway"),
        (55_000, 1, 1, "nat_gateway"),
        (55_001, 1, 2, "hyperplane_eni"),
        (65_000, 1, 2, "hyperplane_eni"),
        (65_001, 2, 2, "nat_gateway"),
        (110_001, 2, 3, "hyperplane_eni"),
        (130_000, 2, 3, "hyperplane_eni"),
        (440_000, 7, 8, "nat_gateway"),
    ],
)
def test_the_article_s_numbers(peak: int, subnets: int, elastic_ips: int, bottleneck: str) -> None:
    """Peaks at the limits of the topologies that ship need just those topologies' ENIs and Elastic IPs."""
    plan = planned(peak)
    assert (plan.layout.gateways, plan.bottleneck) == ((Gateway(subnets, elastic_ips),), bottleneck)


def test_a_second_nat_gateway() -> None:
    """Eight Elastic IPs are all that a NAT gateway has; beyond 440,000 to one server the subnets route to two."""
    plan = planned(455_000)
    assert plan.layout.gateways == (Gateway(4, 5), Gateway(3, 4))
    assert (plan.capacity, plan.bottleneck) == (455_000, "hyperplane_eni")


def test_the_gateway_that_fills_first_is_first() -> None:
    """Of gateways that differ, the first burst's first turns go to the one with least room for its subnets."""
    assert plan_capacity(Demand(peak=832_000)).layout.gateways == (Gateway(5, 6), Gateway(5, 6), Gateway(6, 8))


def test_full_on_both_sides() -> None:
    """715,000 fill eleven ENIs and thirteen Elastic IPs to two servers: the ENI comes first on the way."""
    plan = planned(715_000, servers=13)
    assert (plan.layout.gateways, plan.capacity) == ((Gateway(11, 1),), 715_000)
    assert plan.reserve == {"hyperplane_eni": 0, "nat_gateway": 0}
    assert plan.bottleneck == "hyperplane_eni"


def test_servers_divide_what_elastic_ips_carry_and_not_what_enis_do() -> None:
    """A NAT gateway's limit is per destination, an ENI's is total."""
    assert [planned(130_000, servers=servers).layout.gateways for servers in (1, 2, 3)] == [
        (Gateway(2, 3),),
        (Gateway(2, 2),),
        (Gateway(2, 1),),
    ]


def test_headroom_has_a_price() -> None:
    """The plan says what would do without: here a subnet less and the same Elastic IPs."""
    plan = plan_capacity(Demand(peak=130_000))
    assert (plan.layout.gateways, plan.bare.gateways) == ((Gateway(3, 3),), (Gateway(2, 3),))
    assert plan.reserve == {"hyperplane_eni": 65_000, "nat_gateway": 35_000}


def test_nat_gateways_for_availability_zones() -> None:
    """At least so many NAT gateways as asked for, each with subnets of its own."""
    assert planned(10, nat_gateways=3).layout.gateways == (Gateway(1, 1),) * 3
    assert planned(130_000, nat_gateways=2).layout.gateways == (Gateway(2, 2), Gateway(1, 1))


def test_quotas() -> None:
    """AWS's default quotas that a plan exceeds must be raised, the others not."""
    raised = {each.name: each.needed for each in planned(440_000).quotas if each.must_be_raised}
    assert raised == {"Elastic IP addresses per public NAT gateway": 8, "Elastic IP addresses per Region": 8}
    assert not any(each.must_be_raised for each in planned(110_000).quotas)
    (per_gateway, *_) = planned(440_000, elastic_ips_quota=8).quotas
    assert not per_gateway.must_be_raised


@examples(100)
@given(demands(), st.integers(1, 8))
def test_alternatives(demand: Demand, quota: int) -> None:
    """What is said to do within the quota does, and more servers are named only where they help."""
    demand = Demand(
        peak=demand.peak,
        servers=demand.servers,
        headroom_percent=demand.headroom_percent,
        nat_gateways=demand.nat_gateways,
        elastic_ips_quota=quota,
    )
    plan = plan_capacity(demand)
    if plan.within_quota:
        assert plan.within_quota.most_elastic_ips <= quota
        assert plan.within_quota.eni_capacity >= demand.connections
        assert plan.within_quota.nat_capacity(demand.servers, demand.addresses) >= demand.connections
    else:
        assert plan.layout.most_elastic_ips > quota
    too_many = any(each.must_be_raised for each in plan.quotas[:2])
    if plan.servers_within_quota is not None:
        assert (plan.servers_within_quota > demand.servers) == too_many


# ── Little's law ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rate", "hold_s", "port_hold_s", "connections"),
    [
        (5_000, 30, 0, 150_000),
        (1_000, 0.55, 0, 550),
        (0.1, 30, 0, 3),
        (0.1, 31, 0, 4),
        (900, 1, 60, 54_900),
    ],
)
def test_rate_times_time(rate: float, hold_s: float, port_hold_s: int, connections: int) -> None:
    """Connections at the same time are the rate times the hold, the port's hold included, rounded up as typed."""
    demand = Demand(per_second=rate, hold_s=hold_s, port_hold_s=port_hold_s)
    assert demand.connections == connections


def test_the_larger_one_counts() -> None:
    """With a peak and a rate, the larger one is planned for."""
    assert Demand(peak=200_000, per_second=5_000, hold_s=30).connections == 200_000
    assert Demand(peak=100_000, per_second=5_000, hold_s=30).connections == 150_000


# ── The topology ────────────────────────────────────────────────────────────────────────────────────────────


@examples(100)
@given(demands(), st.integers(1, 60))
def test_topology_is_the_layout(demand: Demand, port_hold_s: int) -> None:
    """The file's subnets, routes, Elastic IPs, servers and timeouts are the plan's, its limits AWS's; it has a plan."""
    plan = plan_capacity(
        Demand(
            per_second=max(1, demand.connections // (1 + port_hold_s)),  # whole: a fraction could make one more
            hold_s=1,
            port_hold_s=port_hold_s,
            servers=demand.servers,
            headroom_percent=demand.headroom_percent // 2,
        )
    )
    made = topology_of(plan)
    assert made == planned_topology(plan)
    routes = {subnet.name: subnet.default_route for subnet in made.subnets}
    (function,) = made.functions
    behind = Counter(routes[subnet] for subnet in function.subnets)
    layout = tuple(Gateway(behind[each.name], each.elastic_ips) for each in made.nat_gateways)
    assert layout == plan.layout.gateways
    assert len(made.servers) == demand.servers
    assert made.hyperplane_eni.connection_limit == ENI
    assert {each.connections_per_destination for each in made.nat_gateways} == {EIP}
    assert {made.hyperplane_eni.port_hold_s, *(each.port_hold_s for each in made.nat_gateways)} == {port_hold_s}
    assert len(build(made).fleets[0].paths) == plan.layout.subnets


@examples(50)
@given(demands())
def test_header(demand: Demand) -> None:
    """The header draws each ENI and NAT gateway once, says for which peak, and fits the line."""
    plan = plan_capacity(demand)
    text = topology_text(plan)
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert header[0] == "# yaml-language-server: $schema=schema.json"
    assert f"a peak of {demand.connections:,} connections" in header[2]
    drawn = "\n".join(header)
    assert len(re.findall(r" eni-private-[a-p] ", drawn)) == plan.layout.subnets
    assert len(re.findall(r"─ natgw(?:-[a-p])? ─", drawn)) == len(plan.layout.gateways)
    assert drawn.count("◄── binds") == 1
    assert all(len(line) <= 120 and line == line.rstrip() for line in text.splitlines())


@examples(50)
@given(demands())
def test_drawing(demand: Demand) -> None:
    """The header has the drawing that `lab graph` makes of the file, in few words where there are many servers."""
    text = topology_text(plan_capacity(demand))
    drawing = to_text(draw(load_text(text)), compact=demand.servers > 4)
    assert "".join(f"# {line}".rstrip() + "\n" for line in drawing.splitlines()) in text


def test_file_names_in_the_header() -> None:
    """A file's name is quoted for the shell, and cannot end the comment."""
    plan = planned(10)
    assert "sudo lab up 'my plan.yaml'\n" in topology_text(plan, "my plan.yaml")
    assert load_text(topology_text(plan, "x\nversion: 2")) == topology_of(plan)


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


def test_command(run: Run) -> None:
    """For a person: what is needed, what is left, which quota is too small, what else would do."""
    status, out, err = run("plan-capacity", "--peak", "130,000")
    assert (status, err) == (0, "")
    assert "a peak of 130,000 to one server, 20 % of each limit left free" in out
    assert "needed: 3 subnets, 1 NAT gateway with 3 Elastic IPs" in out
    assert re.search(r"each of 3 Hyperplane ENIs +65,000 +43,334 +21,666 +33\.3", out)
    assert "carries 165,000; the next connection is dropped by a NAT gateway" in out
    assert re.search(r"Elastic IP addresses per public NAT gateway +2 +3 +raise it", out)
    assert re.search(r"Elastic IP addresses per Region +5 +3 *\n", out)
    assert "Within the quota of 2 per NAT gateway: 3 subnets, 2 NAT gateways with 3 Elastic IPs." in out


def test_command_past_nat_gateways(run: Run) -> None:
    """To a server in the VPC it needs subnets alone, and what is not planned is said of every plan."""
    status, out, err = run("plan-capacity", "--peak", "130000", "--to", "vpc")
    assert (status, err) == (0, "")
    assert "needed: 3 subnets, no NAT gateway" in out
    assert "Elastic IP" not in out
    assert "in reserve: 65,000 connections on Hyperplane ENIs\n" in out
    assert "Not planned: what servers keep (max_connections); what other functions and hosts hold" in out


def test_command_says_which_input_binds(run: Run) -> None:
    """A rate is shown as the peak that it makes, and the larger one is named."""
    rate = ("--per-second", "5000", "--hold", "30")
    assert "each held for 30 s: 150,000 at the same time" in run("plan-capacity", *rate).stdout
    assert "the rate is the larger one" in run("plan-capacity", *rate, "--peak", "140000").stdout
    assert "--peak is the larger one" in run("plan-capacity", *rate, "--peak", "160000").stdout


def test_command_writes_a_valid_topology(run: Run, tmp_path: Path) -> None:
    """`-o` writes the file that the last line offers to bring up; `lab predict` agrees with its header."""
    file = tmp_path / "planned.yaml"
    out = run("plan-capacity", "--peak", "130000", "--headroom", "0", "-o", str(file)).stdout
    assert out.endswith(f"next: {file} is the topology; lab up {file}\n")
    assert run("validate", str(file)).status == 0
    (burst,) = re.findall(r"burst -n (\d+) +([\d,]+) established, 1 timed out, bottleneck (\w+)", file.read_text())
    found = predict(load(file), int(burst[0]))
    assert (f"{found.established:,}", found.bottleneck) == burst[1:]


def test_command_prints_the_topology_alone(run: Run) -> None:
    """`-o -` is the file on standard output and nothing else."""
    status, out, err = run("plan-capacity", "--peak", "130000", "--headroom", "0", "-o", "-")
    assert (status, out, err) == (0, topology_text(planned(130_000)), "")


def test_command_json(run: Run) -> None:
    """`--json` is one document, the topology in it; its defaults are the plan's."""
    status, out, err = run("plan-capacity", "--peak", "130000", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert document["headroom_percent"] == HEADROOM_PERCENT
    assert document["needed"] == {
        "subnets": 3,
        "elastic_ips": 3,
        "nat_gateways": [{"subnets": 3, "elastic_ips": 3}],
    }
    assert document["quotas"][0] == {
        "name": "Elastic IP addresses per public NAT gateway",
        "now": NAT_EIPS_QUOTA,
        "needed": 3,
        "raise": True,
    }
    assert (document["capacity"], document["bottleneck"]) == (165_000, "nat_gateway")
    assert load_text(document["topology"]) == topology_of(plan_capacity(Demand(peak=130_000)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "a peak is needed: --peak 130000, or a rate and a time: --per-second 5000 --hold 30"),
        ("--peak 0", "--peak 0: a peak has at least one connection"),
        ("--hold 30", "--hold 30: says nothing without a rate; add --per-second"),
        ("--per-second 9", "--per-second 9: says nothing without a time; add --hold"),
        ("--per-second -1 --hold 3", "--per-second -1: new connections per second, more than 0"),
        ("--per-second nan --hold 3", "--per-second nan: new connections per second, more than 0"),
        ("--per-second 9 --hold inf", "--hold inf: seconds, more than 0 and up to 432,000"),
        ("--peak 9 --port-hold 60", "--port-hold 60: ports are held after connections close"),
        ("--per-second 9 --hold 3 --port-hold -1", "--port-hold -1: 0 to 432,000 seconds"),
        ("--peak 9 --servers 0", "--servers 0: 1 to 100 unique destinations"),
        ("--peak 9 --to moon", "--to moon: where the servers are: internet, vpc, s3, dynamodb"),
        ("--peak 9 --to vpc --addresses 2", "--addresses 2: a server in a VPC has one; count each as one of --servers"),
        ("--peak 9 --to s3 --nat-gateways 2", "--nat-gateways 2: none is on the way to servers with --to s3"),
        ("--peak 9 --headroom 100", "--headroom 100: 0 to 99 percent"),
        ("--peak 9 --nat-gateways 17", "--nat-gateways 17: 1 to 16 at least so many"),
        ("--peak 9 --elastic-ips-quota 9", "--elastic-ips-quota 9: 1 to 8 Elastic IPs"),
        ("--peak 832001", "carry 832,000, with 20 % of each left free. Divide the load among 2 functions"),
        ("--peak 1040001 --headroom 0", "carry 1,040,000, all full. Divide the load among 2 functions"),
        ("--peak 9 -o /proc/none", "-o /proc/none: cannot be written: No such file or directory"),
        ("--peak 9 -o - --json", "-o - --json: standard output is for one of them"),
    ],
)
def test_command_refuses(run: Run, arguments: str, text: str) -> None:
    """What makes no sense, or cannot be carried, ends with status 2, the value and what to do."""
    status, out, err = run("plan-capacity", *arguments.split())
    assert (status, out) == (2, "")
    assert text in err


def test_the_advice_for_too_large_a_peak_works() -> None:
    """The peak that the refusal offers for each function can be planned."""
    with pytest.raises(UsageError) as refused:
        plan_capacity(Demand(peak=2_000_001))
    (offered,) = re.findall(r"--peak (\d+)", str(refused.value))
    assert plan_capacity(Demand(peak=int(offered))).capacity >= 2_000_001 / 3
