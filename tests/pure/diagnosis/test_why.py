"""Why connections were lost, out of made-up readings and samples: who, since when, what nobody sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.burst.load import Load
from lab.diagnosis.why import Explanation, LabNow, of_lab, of_run
from lab.diagnosis.why.limits import Course, LimitAccount, in_order
from lab.impair.faults import Faults, Impairment
from lab.nodes.build import build
from lab.observe.limits import limits_of
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.plan import Plan
from lab.slots.counters import ACTIVE, ADMITTED, CLOSED, ESTABLISHED
from lab.slots.limiter import Limiter
from tests.support.bursts import burst_result, seen
from tests.support.cli import Run
from tests.support.runs import ran
from tests.support.topologies import shipped
from traffic.spec import Protocol

TINY = shipped("tiny")
PLAN = build(TINY)
NOW_S = 1_000.0
NO_TRAFFIC = InterfaceCount(0, 0, 0, 0)


def limiters(node: str, protocol: str = "tcp", plan: Plan = PLAN) -> list[Limiter]:
    """Those of a node, for a protocol or any."""
    return [each for each in plan.limiters if each.node == node and each.protocol in ("any", protocol)]


def sample(at_s: float, packets: dict[str, int] | None = None, held: dict[str, int] | None = None) -> Sample:
    """All nodes; of those given, what their first limiter has refused and holds."""
    nodes = {}
    for node in PLAN.nat_nodes:
        first = limiters(node.node)[0]
        refused = (packets or {}).get(node.node, 0)
        counters = {first.refused_packets: refused, first.refused_connections: refused, ADMITTED: 9, ESTABLISHED: 7}
        nodes[node.node] = NodeSample(
            {**counters, CLOSED: 2},
            {first.slots: (held or {}).get(node.node, 0)},
            5,
            InterfaceCount(8, 0, 0, 0),
            InterfaceCount(0, 0, 6, 0),
        )
    return Sample(at_s, nodes)


def reading(limiter: Limiter, held: int = 0, refused: int = 0, age_s: float | None = None) -> Reading:
    """What the kernel says of it now; whoever was refused first came from the first environment."""
    first = None if age_s is None else FirstRefusal(age_s, IPv4Address("100.65.0.0"), 536)
    return Reading(limiter, held, 2 * refused, refused, first)


def explained(
    *changed: Reading,
    samples: Sequence[Sample] = (),
    impairments: tuple[Impairment, ...] = (),
    lost: tuple[str, ...] = (),
) -> Explanation:
    """The lab `tiny`, of which nothing is in use but what is told."""
    told = {each.limiter: each for each in changed}
    readings = tuple(told.get(each, reading(each)) for each in PLAN.limiters)
    seen = samples or (sample(NOW_S),)
    return of_lab(LabNow(PLAN, TINY, readings, seen, {}, impairments, lost))


# ── Since when ──────────────────────────────────────────────────────────────────────────────────────────────


def refusals(*packets: tuple[float, int]) -> tuple[float | None, float | None, int]:
    """When an ENI's refusals began, when the last was, and how many packets there were lately."""
    (limit,) = limits_of(limiters("eni-private-a"))
    course = Course((limit,))
    for at_s, refused in packets:
        course.see(sample(at_s, {"eni-private-a": refused}))
    found = course.of(limit)
    return found.began_s, found.last_s, sum(n for _, n in found.lately)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        (((1, 0), (2, 0)), (None, None, 0)),  # nothing
        (((1, 0), (2, 5), (3, 5)), (2, 2, 5)),  # at once
        (((1, 5), (2, 5)), (1, 1, 5)),  # before the first sample was taken
        (((1, 0), (2, 5), (4, 9), (8, 12)), (2, 8, 12)),  # retransmissions go on
        (((1, 0), (2, 5), (60, 9), (75, 9)), (2, 60, 0)),  # the last SYN of a patient client; over
        (((1, 0), (2, 5), (100, 9)), (100, 100, 4)),  # a pause: it began anew
    ],
)
def test_course(packets: tuple[tuple[float, int], ...], expected: tuple[float | None, float | None, int]) -> None:
    """Refusals belong together when no longer apart than a client's SYNs."""
    assert refusals(*packets) == expected


def test_the_kernel_s_clock_is_exact() -> None:
    """Samples are a second apart; the first refused tuple's age is not."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 2), sample(NOW_S - 1, {eni.node: 4}), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=1.25), samples=samples).refusing
    assert (account.began_s, account.last_s, account.recent_packets) == (NOW_S - 1.25, NOW_S, 8)


def test_while_nobody_took_samples() -> None:
    """What began meanwhile began when the kernel says, not when samples were taken again."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 600), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=300), samples=samples).refusing
    assert account.began_s == NOW_S - 300
    (account,) = explained(reading(eni, 20, 4, age_s=300), samples=samples[1:]).refusing
    assert account.began_s == NOW_S - 300


def test_a_first_refusal_of_another_time() -> None:
    """A tuple that is remembered from a load long ago does not date a new one."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 500, {eni.node: 4}), sample(NOW_S - 1, {eni.node: 4}), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=500), samples=samples).refusing
    assert account.began_s == NOW_S


# ── Who ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_to_refuse_is_the_headline() -> None:
    """A NAT gateway that was full first fills the ENIs with SYNs that nobody answers."""
    eni, eip = limiters("eni-private-a")[0], limiters("natgw")[0]
    samples = (
        sample(NOW_S - 9, {"natgw": 5}),
        sample(NOW_S - 5, {"natgw": 9, eni.node: 4}),
        sample(NOW_S, {"natgw": 9, eni.node: 4}),
    )
    found = explained(reading(eni, 20, 4), reading(eip, 15, 9), samples=samples)
    assert found.headline == "NAT gateway port exhaustion: natgw with 2 Elastic IPs, 15 connections each to cache"
    assert [each.limit.first.node for each in found.refusing] == ["natgw", "eni-private-a"]
    assert [each.limit.first.node for each in found.others] == ["eni-private-b"]


def test_elastic_ips_are_one_limit() -> None:
    """What two Elastic IPs hold and refuse is told together, and so is their room."""
    first, second = limiters("natgw")
    (account,) = explained(reading(first, 15, 3), reading(second, 14, 2)).refusing
    assert (account.held, account.limit.size, account.free) == (29, 30, 1)
    assert (account.connections, account.packets) == (5, 10)


def test_the_eni_s_limit_is_in_no_metric() -> None:
    """While ErrorPortAllocation is 0, CloudWatch looks healthy."""
    found = explained(reading(limiters("eni-private-a")[0], 20, 4))
    assert found.gateways[0].values == {
        "ErrorPortAllocation": 0,
        "ActiveConnectionCount": 5,
        "ConnectionAttemptCount": 9,
        "ConnectionEstablishedCount": 7,
        "IdleTimeoutCount": 0,
    }
    assert found.blind_spot == (
        "The ENI's limit is in no metric: ErrorPortAllocation is 0, so CloudWatch looks healthy, "
        "and eni-private-a refused 4 connections."
    )
    assert explained().blind_spot == "A Hyperplane ENI's limit is in no metric; here none was reached."


def test_nothing() -> None:
    """A lab where all is well says so, and still tells what would come next."""
    found = explained()
    assert found.headline.startswith("No limit reached: nothing was refused")
    assert (found.refusing, found.threshold.held) == ((), 30)
    assert {each.limit.first.protocol for each in found.others} == {"any", "tcp"}
    assert found.remedies


def test_what_else_it_may_be() -> None:
    """A fault that somebody has set, or a process that has ended, is told where no limit was reached."""
    silent = Impairment("srv-cache", "inet", Faults(silence=True), 12)
    found = explained(impairments=(silent,))
    assert found.headline == "No limit reached, and somebody has put faults on the way: srv-cache"
    assert found.details == ("Impaired: srv-cache inet, silence; 12 packets dropped. To clear: lab impair --clear.",)
    (counted,) = (each for each in found.evidence if "silence" in each.what)
    assert (counted.value, counted.command) == (12, "sudo ip netns exec lab-tiny-srv-cache nft list counters netdev")
    assert "has lost the server" in explained(lost=("the server",)).headline


def test_commands() -> None:
    """Each number has a command of its own, which names the namespace, the table and the counter."""
    eni = limiters("eni-private-a")[0]
    told = {each.what: each.command for each in explained(reading(eni, 20, 4)).evidence}
    inside = "sudo ip netns exec lab-tiny-eni-private-a"
    assert told["connections refused"] == (
        f"{inside} nft list counter ip hyperplane_eni refused_connections_connections"
    )
    assert told["connections held"] == f"{inside} nft list set ip hyperplane_eni connections | grep -o expires | wc -l"
    assert told["each SYN as it is refused"] == f"{inside} tcpdump -lni nflog:1"
    assert told["packets from clients"] == f"{inside} ip -s link show dev svc"
    assert f"conntrack -L -m {ACTIVE:#x}/{ACTIVE:#x}" in told["active connections"]


def test_whose_connections() -> None:
    """The remedies are for the function whose connection the ENI refused first."""
    made = shipped("shared_eni")
    plan = build(made)
    second = plan.fleets[1].paths[0].first_address
    readings = [replace(reading(each), first_refusal=FirstRefusal(1.0, second, 536)) for each in plan.limiters]
    readings[0] = replace(readings[0], in_use=65_000, refused_packets=2, refused_connections=1)
    assert of_lab(LabNow(plan, made, tuple(readings), (), {})).question.function == "search"
    assert of_lab(LabNow(plan, made, tuple(readings), (), {}), "checkout").question.function == "checkout"


def refused_by_gateways(plan: Plan, protocol: str, held: int, refused: int) -> list[Reading]:
    """Of a burst over this protocol: its limiters as `lab.burst.scene` has them, the NAT gateway's full."""
    on_the_way = [each for each in plan.limiters if each.protocol in ("any", protocol)]
    return [reading(each, held, refused if each.kind == "nat_gateway" else 0) for each in on_the_way]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_run_of_either_protocol(protocol: Protocol) -> None:
    """Numbers, times and commands are those of the protocol's own limits."""
    load = Load(connections=40, protocol=protocol)
    readings = refused_by_gateways(PLAN, protocol, 15, 5)
    firsts = {each.limiter.refused_packets: 10 for each in readings if each.refused_packets}
    kept = [
        Sample(NOW_S + second, {"natgw": NodeSample(counters, {}, 0, NO_TRAFFIC, NO_TRAFFIC)})
        for second, counters in enumerate(({}, firsts))
    ]
    result = burst_result(seen(30, 10), *readings, load=load)
    found = of_run(ran(load=load, result=result, samples=tuple(kept)))
    (account,) = found.refusing
    assert [each.protocol for each in account.limit.limiters] == [protocol, protocol]
    assert (account.packets, account.began_s, found.question.protocol) == (20, NOW_S + 1, protocol)
    packets = "SYNs" if protocol == "tcp" else "datagrams"
    (counted,) = (each for each in found.evidence if each.what == f"{packets} refused")
    assert (counted.value, f"_cache_{protocol}" in counted.command) == (20, True)


def test_the_protocol_that_was_refused() -> None:
    """Of a lab that is up, the remedies are for flows over UDP if those were refused first."""
    assert explained(reading(limiters("natgw", "udp")[0], 15, 3)).question.protocol == "udp"
    assert explained(reading(limiters("natgw", "tcp")[0], 15, 3)).question.protocol == "tcp"


def test_document() -> None:
    """The document has the whole explanation, in JSON's own types."""
    document = explained(reading(limiters("natgw")[0], 15, 3)).to_json()
    assert list(document)[:5] == ["schema", "lab", "run", "at_s", "headline"]
    assert document["limits"][0]["eips"] == ["198.51.100.1", "198.51.100.2"]
    assert document["threshold"]["kind"] == "nat_gateway"
    assert {"what", "change", "threshold_before", "threshold_after", "binds_after"} < set(document["remedies"][0])


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 3, "sudo"),
        (("--connection", "100.65.0.0"), 2, "such as 100.65.0.0:536; the port is missing"),
        (("--connection", "100.65.0.0:1", "--function", "checkout"), 2, "leave --function out"),
        (("last", "--to", "cache"), 2, "a run and --to: a run has its own lab, function and server"),
        (("last", "--lab", "tiny", "--connection", "100.65.0.0:1"), 2, "a run and --lab, --connection:"),
        (("/nowhere/at/all",), 2, "/nowhere/at/all"),
    ],
)
def test_mistakes(run: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    """Each is a sentence and a status, before a lab is looked for."""
    ended = run("why", *arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert said in ended.stderr


def test_help(run: Run) -> None:
    """The help has examples to copy."""
    assert "sudo lab why --connection 100.65.0.0:536" in run("why", "--help").stdout


# ── A lab that has been cured of one limit ──────────────────────────────────────────────────────────────────


def test_what_refuses_now_comes_before_what_is_over() -> None:
    """Of limits that refused lately the one that began leads; one that has refused nothing since comes after them."""
    found = limits_of(build(shipped("tiny")).limiters)[:3]
    times = ((100.0, 110.0), (160.0, 171.0), (150.0, 170.0))
    past, second, first = (
        LimitAccount(limit, 0, 5, 10, 20, began_s, last_s)
        for limit, (began_s, last_s) in zip(found, times, strict=True)
    )
    unasked = LimitAccount(found[0], 0, 0, 0, 20)
    assert in_order([past, second, first, unasked]) == [first, second, past]
