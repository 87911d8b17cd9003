"""Why connections were lost in a lab that is up, and in a run: who refused, whose connections, what nobody sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.burst.load import Load
from lab.diagnosis.explanation import LabNow, of_lab
from lab.diagnosis.verdict import judge
from lab.impair.faults import Faults, Impairment
from lab.kernel.interfaces import InterfaceCount
from lab.nodes.build import build
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.samples import NodeSample, Sample
from lab.plan import Plan
from lab.slots.counters import ACTIVE
from tests.support.bursts import burst_result, seen
from tests.support.runs import explained_run, ran
from tests.support.tiny_lab import NOW_S, PLAN, explained, limiters, reading, sample
from tests.support.topologies import shipped
from traffic.spec import Protocol

NO_TRAFFIC = InterfaceCount(0, 0, 0, 0)


def test_the_first_to_refuse_is_the_headline() -> None:
    """A NAT gateway that was full first fills the ENIs with SYNs that nobody answers."""
    eni, eip = limiters("eni-private-a")[0], limiters("natgw")[0]
    samples = (
        sample(NOW_S - 9, {"natgw": 5}),
        sample(NOW_S - 5, {"natgw": 9, eni.node: 4}),
        sample(NOW_S, {"natgw": 9, eni.node: 4}),
    )
    found = explained(reading(eni, 20, 4), reading(eip, 15, 9), samples=samples)
    assert "natgw with 2 Elastic IPs" in found.headline
    assert [each.limit.first.node for each in found.refusing] == ["natgw", "eni-private-a"]
    assert [each.limit.first.node for each in found.others] == ["eni-private-b"]


@pytest.mark.parametrize("nodes", [("eni-private-a",), ("eni-private-a", "eni-private-b"), ("natgw",)])
def test_a_lab_that_is_up_and_a_burst_have_one_judge(nodes: tuple[str, ...]) -> None:
    """The same limits are told in the same sentence, whether a burst met them or somebody asks the lab."""
    full = [reading(limiter, limiter.limit, 4) for node in nodes for limiter in limiters(node)]
    assert explained(*full).headline == judge(burst_result(seen(30, 10), *full, first=full[0])).headline


def test_a_lab_that_is_up_and_a_burst_tell_a_drop_alike() -> None:
    """So it is with what drops packets whatever the limits."""
    made = shipped("security_group")
    plan = build(made)
    (counter,) = plan.barriers
    now = LabNow(plan, made, tuple(map(reading, plan.limiters)), (), {counter: 7})
    burst = burst_result(seen(0, 7), *now.readings, stops=(counter.counted(7),))
    assert of_lab(now).headline == judge(burst).headline


def test_elastic_ips_are_one_limit() -> None:
    """What two Elastic IPs hold and refuse is told together, and so is their room."""
    first, second = limiters("natgw")
    (account,) = explained(reading(first, 15, 3), reading(second, 14, 2)).refusing
    assert (account.held, account.limit.size, account.free) == (29, 30, 1)
    assert (account.connections, account.packets) == (5, 10)


def test_the_eni_s_limit_is_in_no_metric() -> None:
    """While ErrorPortAllocation is 0, CloudWatch looks healthy."""
    found = explained(reading(limiters("eni-private-a")[0], 20, 4))
    assert found.metrics[0].values == {
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
    assert found.headline == "No limit reached, and lab impair has set faults on the way: srv-cache"
    assert found.details == ("Impaired: srv-cache inet, silence; 12 packets dropped. To clear: lab impair --clear.",)
    (counted,) = (each for each in found.evidence if "silence" in each.what)
    assert (counted.value, counted.command) == (12, "sudo ip netns exec lab-tiny-srv-cache nft list counters netdev")


def test_what_is_lost_comes_first() -> None:
    """Also where a limit has refused connections: what is missing may be why."""
    eni = limiters("eni-private-a")[0]
    found = explained(reading(eni, 20, 4), lost=("the server",))
    assert (found.cause, found.headline) == ("lost_parts", "The lab has lost the server")
    assert [account.connections for account in found.refusing] == [4]


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
    assert of_lab(LabNow(plan, made, tuple(readings), (), {})).question.source == "search"
    assert of_lab(LabNow(plan, made, tuple(readings), (), {}), "checkout").question.source == "checkout"


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
    found = explained_run(ran(load=load, result=result, samples=tuple(kept)))
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
    assert list(document)[:6] == ["schema", "lab", "run", "at_s", "cause", "headline"]
    assert document["limits"][0]["eips"] == ["198.51.100.1", "198.51.100.2"]
    assert document["threshold"]["kind"] == "nat_gateway"
    assert {"what", "change", "threshold_before", "threshold_after", "binds_after"} < set(document["remedies"][0])
