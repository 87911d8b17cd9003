"""The judgement on a burst: what was reached or dropped, what AWS would show of it, what helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.burst.functions import FunctionResult
from lab.diagnosis.verdict import Verdict, judge
from lab.observe.readings import Reading
from lab.schema.drops import DropCount
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen, with_tcp
from traffic.result import DnsCount, EngineResult, InvocationCount, RequestCount, Sample


def text(verdict: Verdict) -> str:
    """All of it."""
    return "\n".join((verdict.headline, *verdict.explanation, *verdict.remedies))


def eni_limit(*nat: Reading) -> Verdict:
    """Two ENIs are full, the first before the second."""
    full = [reading(each, 65_000, 20_000, 5_000) for each in (ENI_A, ENI_B)]
    return judge(burst_result(seen(130_000, 10_000, retransmissions=30_000), *full, *nat, first=full[0]))


def port_exhaustion(elastic_ips: int, refused: int = 4_000) -> Verdict:
    """A NAT gateway with so many Elastic IPs is full."""
    full = [reading(each, 55_000) for each in eips(elastic_ips)]
    full[0] = reading(full[0].limiter, 55_000, refused, refused // 4)
    return judge(burst_result(seen(55_000 * elastic_ips, refused // 4), reading(ENI_A, 1), *full, first=full[0]))


def test_a_burst_in_a_lab_that_has_lost_parts() -> None:
    """What is lost leads, and no limit is blamed for what a silent server has filled."""
    full = reading(ENI_A, 65_000, 20_000, 5_000)
    result = burst_result(seen(65_000, 5_000), full, first=full)
    verdict = judge(replace(result, lost=("the server process in srv",)))
    assert (verdict.cause, verdict.headline) == ("lost_parts", "The lab has lost the server process in srv")
    assert "ENI" not in text(verdict)


def test_eni_limit() -> None:
    """A full ENI is named with its limit, and nothing on AWS shows it."""
    verdict = eni_limit(reading(eips(1)[0], 55_000))
    assert "eni-private-a" in verdict.headline
    assert "eni-private-b" in verdict.headline
    assert "65,000" in verdict.headline
    assert "No CloudWatch metric" in text(verdict)
    assert "ErrorPortAllocation stays 0" in text(verdict)


def test_eni_limit_remedies() -> None:
    """Subnets and security groups bring ENIs; Elastic IPs help nobody whose ENI is full."""
    remedies = "\n".join(eni_limit().remedies)
    assert "subnet" in remedies
    assert "security-group" in remedies
    assert "Reuse connections" in remedies
    assert "Elastic IP" not in remedies


def test_ports_per_client() -> None:
    """Ports that a client has used up are no full NAT gateway; where one is full as well, both are told of."""
    nat, other = eips(1)[0], replace(eips(1)[0], node="nat-b")
    client = reading(replace(nat, client="eni-private-a", limit=8), 8, 20, 5)
    alone = judge(burst_result(seen(8, 5, retransmissions=15), client, first=client))
    assert alone.cause == "ports_per_client"
    assert "private subnet" in text(alone)
    assert "Elastic IP with" not in text(alone)
    both = judge(burst_result(seen(17, 6), client, reading(replace(other, limit=9), 9, 4, 1), first=client))
    assert both.cause == "limit"
    assert both.headline == (
        "NAT gateway port exhaustion: natgw with 8 ports to cache for eni-private-a; "
        "nat-b with 1 Elastic IP, 9 connections to cache"
    )


def test_innocent_enis_are_not_named() -> None:
    """An ENI that refused nothing is not in the headline."""
    full, free = reading(ENI_A, 65_000, 4, 1), reading(ENI_B, 10)
    assert "eni-private-b" not in judge(burst_result(seen(65_010, 1), full, free, first=full)).headline


def test_eni_limit_with_port_exhaustion_after_it() -> None:
    """When the NAT gateway dropped as well, its metric does not stay 0."""
    verdict = eni_limit(reading(eips(1)[0], 55_000, 1_234, 300))
    assert "ErrorPortAllocation rises by 1,234" in text(verdict)
    assert "stays 0" not in text(verdict)


@pytest.mark.parametrize(("refused", "rises"), [(0, 3), (1_234, 1_237)])
def test_ports_that_the_kernel_did_not_find(refused: int, rises: int) -> None:
    """The metric counts SYNs that had a slot and no port as well."""
    full, nat = reading(ENI_A, 65_000, 1_000, 200), reading(eips(1)[0], 55_000, refused, refused // 4)
    result = burst_result(seen(65_000, 200), full, nat, first=full, ports_not_found=3)
    assert f"ErrorPortAllocation rises by {rises:,} as well" in text(judge(result))


def test_ports_that_an_eni_did_not_find() -> None:
    """What an ENI had no port for is in no metric of a NAT gateway."""
    full, nat = reading(ENI_A, 65_000, 1_000, 200), reading(eips(1)[0], 55_000)
    clients = seen(65_000, 200)
    result = burst_result(clients, full, nat, first=full, ports_not_found=3, not_found_in="hyperplane_eni")
    assert "ErrorPortAllocation stays 0" in text(judge(result))


def test_port_exhaustion() -> None:
    """An exhausted NAT gateway is named with its addresses and destination, and CloudWatch shows it."""
    verdict = port_exhaustion(2)
    assert "natgw with 2 Elastic IPs" in verdict.headline
    assert "55,000" in verdict.headline
    assert "cache" in verdict.headline
    assert "ErrorPortAllocation rises by 4,000" in text(verdict)
    assert "Hyperplane" not in text(verdict)


@pytest.mark.parametrize("elastic_ips", [1, 2, 7])
def test_more_elastic_ips(elastic_ips: int) -> None:
    """While AWS allows another Elastic IP, it is the first remedy."""
    assert "secondary Elastic IP" in port_exhaustion(elastic_ips).remedies[0]


def test_no_ninth_elastic_ip() -> None:
    """With eight Elastic IPs there is no ninth: a second gateway or more destinations help."""
    first, *_ = port_exhaustion(8).remedies
    assert "secondary Elastic IP" not in first
    assert "second NAT gateway" in first
    assert "destination addresses or ports" in first


def test_the_full_gateway_is_the_one_described() -> None:
    """Of two NAT gateways, name, addresses and limit are those of the one that refused."""
    roomy = [reading(each, 1) for each in eips(3, "nat-a")]
    full = reading(eips(1, "nat-b", limit=100)[0], 100, 8, 2)
    headline = judge(burst_result(seen(103, 2), *roomy, full, first=full)).headline
    assert "nat-b with 1 Elastic IP," in headline
    assert "100 connections" in headline
    assert "nat-a" not in headline


@pytest.mark.parametrize("verdict", [eni_limit(), port_exhaustion(1)])
def test_dns_succeeds(verdict: Verdict) -> None:
    """Whatever dropped, the verdict says why DNS succeeded."""
    assert any("DNS succeeded" in each and "service VPC" in each for each in verdict.explanation)


def test_no_limit() -> None:
    """A burst that fits needs no advice; the verdict says how much room is left."""
    verdict = judge(burst_result(seen(1_000), reading(ENI_A, 1_000), reading(eips(1)[0], 1_000)))
    assert "1,000" in verdict.headline
    assert verdict.remedies == ()
    assert "1,000 of 65,000" in text(verdict)
    assert "1,000 of 55,000" in text(verdict)
    assert "ErrorPortAllocation" not in text(verdict)


def test_no_limit_with_an_endpoint() -> None:
    """The room that an interface endpoint's load balancer has left is told as well."""
    endpoint = replace(eips(1, "vpce-cache", limit=300)[0], kind="interface_endpoint", eip=None)
    verdict = judge(burst_result(seen(100), reading(ENI_A, 100), reading(endpoint, 100)))
    assert "Interface endpoints: 100 of 300 connections in use." in verdict.explanation


def test_an_endpoint_that_is_full() -> None:
    """Its load balancer is named with its limit, and no NAT gateway is blamed."""
    endpoint = replace(eips(1, "vpce-cache", limit=300)[0], kind="interface_endpoint", eip=None)
    full = reading(endpoint, 300, 8, 2)
    verdict = judge(burst_result(seen(300, 2), reading(ENI_A, 302), full, first=full))
    assert "vpce-cache" in verdict.headline
    assert "ErrorPortAllocation" not in text(verdict)


def test_silence() -> None:
    """Timeouts that no limiter caused are not blamed on one."""
    verdict = judge(burst_result(seen(10, 5), reading(ENI_A, 10), reading(eips(1)[0], 10)))
    assert "5 connections timed out" in verdict.headline
    assert "no limiter" in verdict.headline
    assert "ErrorPortAllocation" not in text(verdict)


@pytest.mark.parametrize(
    ("clients", "word"),
    [(seen(0, failed=10), "resolver"), (seen(3, refused=7), "server")],
)
def test_other_failures(clients: EngineResult, word: str) -> None:
    """Unanswered questions and refused connections are failures, though no limit was reached."""
    verdict = judge(burst_result(clients, reading(ENI_A), reading(eips(1)[0])))
    assert "all" not in verdict.headline
    assert word in text(verdict)
    assert " 0 " not in text(verdict)


def test_nobody_listens() -> None:
    """Connections that were all refused point to the port on which no program listens, a real one perhaps."""
    verdict = judge(burst_result(seen(0, refused=10), reading(ENI_A), reading(eips(1)[0])))
    assert verdict.headline == "No limit reached: the server refused 10 of 10 connections"
    assert "no program listens" in text(verdict)
    assert "embedded: false" in text(verdict)


# ── Over time ───────────────────────────────────────────────────────────────────────────────────────────────


def test_all_at_the_same_time() -> None:
    """Connections that are all open at the end were open at the same time."""
    verdict = judge(burst_result(seen(1_000), reading(ENI_A, 1_000), reading(eips(1)[0], 1_000)))
    assert verdict.headline == "No limit reached: all 1,000 connections are established at the same time"


def test_one_after_the_other() -> None:
    """Of connections that came and went it says how many were open at a time, at most."""
    clients = with_tcp(seen(1_000), open=20)
    samples = tuple(Sample(float(second), 1_000, 1_000, 0, open=most) for second, most in enumerate((7, 84, 20)))
    verdict = judge(burst_result(replace(clients, series=samples), reading(ENI_A, 90), reading(eips(1)[0], 90)))
    assert verdict.headline == "No limit reached: all 1,000 connections were established, 84 at a time"
    assert "90 of 65,000" in text(verdict)


def test_a_single_connection() -> None:
    """One connection is not all of them."""
    assert judge(burst_result(seen(1), reading(ENI_A, 1))).headline.endswith("the only connection was established")


def test_waited_out() -> None:
    """A limiter that refused SYNs of connections that were established later was reached, and is named."""
    clients = with_tcp(seen(100, retransmissions=30), established_at_syn=(80, 15, 5), open=10)
    full = reading(ENI_A, 50, 30, 20)
    verdict = judge(burst_result(clients, full, reading(ENI_B, 5), reading(eips(1)[0], 60), first=full))
    assert verdict.headline == "Limit reached and waited out: eni-private-a refused SYNs, and later ones succeeded"
    assert "20 of 100 connections were established by a SYN after their first" in text(verdict)
    assert "Reuse connections" in text(verdict)
    assert "No limit" not in text(verdict)


# ── SYNs alone, requests ────────────────────────────────────────────────────────────────────────────────────


def test_half_open() -> None:
    """SYNs that were answered and left alone are called half-open, not established."""
    clients = with_tcp(seen(500), established=0, half_open=500, open=0, established_at_syn=())
    verdict = judge(burst_result(clients, reading(ENI_A, 500), reading(eips(1)[0], 500)))
    assert verdict.headline == "No limit reached: 500 SYNs answered, and left half-open"
    assert "500 of 65,000" in text(verdict)


def test_syns_alone_at_a_limit() -> None:
    """A limit is a limit for SYNs alone as well, and of DNS, which nobody asked, there is no word."""
    clients = with_tcp(seen(0, 100), attempted=65_100, half_open=65_000)
    full = reading(ENI_A, 65_000, 100, 100)
    verdict = judge(burst_result(replace(clients, dns=DnsCount(0, 0, 0)), full, first=full))
    assert "eni-private-a" in verdict.headline
    assert "DNS" not in text(verdict)


def test_requests_without_answers() -> None:
    """Invocations whose requests had no answer have failed, though all were connected."""
    clients = replace(seen(10), invocations=InvocationCount(10, 7, 3, 0), requests=RequestCount(10, 7))
    verdict = judge(burst_result(clients, reading(ENI_A, 10), reading(eips(1)[0], 10)))
    assert verdict.headline == "No limit reached: 3 of 10 requests had no answer"


def test_resets() -> None:
    """Connections that were reset later are the server's where no NAT node is on the way that could have done it."""
    clients = replace(with_tcp(seen(10), established=8, reset=2, open=8), invocations=InvocationCount(10, 8, 2, 0))
    verdict = judge(burst_result(clients))
    assert verdict.headline == "No limit reached: the server reset 2 connections"


# ── Firewalls ───────────────────────────────────────────────────────────────────────────────────────────────

GROUP = DropCount("eni-private-a", "security_group", "locked", dropped_packets=2_000)
REQUESTS = DropCount("vpc", "network_acl", "strict", "egress", dropped_packets=2_000)
ANSWERS = DropCount(
    "vpc", "network_acl", "strict", "ingress", answers=True, dropped_packets=2_000, cure="Add an entry."
)


@pytest.mark.parametrize(
    ("stop", "headline"),
    [
        (GROUP, "Security group forbids it: egress of locked does not allow the server"),
        (REQUESTS, "Network ACL forbids it: egress of strict does not allow the server"),
        (ANSWERS, "Network ACL forbids the answers: ingress of strict has no entry for the clients' ports"),
    ],
)
def test_firewalls(stop: DropCount, headline: str) -> None:
    """Each kind is named with what forbids and how much it dropped, and is not called a limit."""
    verdict = judge(burst_result(seen(0, 1_000, retransmissions=1_000), reading(ENI_A), stops=(stop,)))
    assert verdict.headline == headline
    assert "1,000 connections timed out; 2,000 of their packets were dropped by" in verdict.explanation[0]
    assert verdict.explanation[1] == "No limit was reached."
    assert "Elastic IP" not in text(verdict)


def test_cures() -> None:
    """The rule to add is the remedy; where it is not known, what it is for is."""
    clients = seen(0, 1_000, retransmissions=1_000)
    assert judge(burst_result(clients, reading(ENI_A), stops=(ANSWERS,))).remedies == ("Add an entry.",)
    (remedy,) = judge(burst_result(clients, reading(ENI_A), stops=(GROUP,))).remedies
    assert remedy == "Add a rule for the server to egress of the security group locked."


def test_firewalls_and_limits() -> None:
    """A limit that refused others as well is told, after the cause that needs no limit."""
    full = reading(ENI_A, 50, 20, 10)
    verdict = judge(burst_result(seen(40, 60), full, first=full, stops=(REQUESTS,)))
    assert verdict.headline.startswith("Network ACL forbids it")
    assert verdict.explanation[1] == "Limits refused 10 connections as well."


def test_several_firewalls() -> None:
    """Where several drop, the one that drops most is in the headline, and all have their remedy."""
    much = replace(GROUP, dropped_packets=5_000)
    verdict = judge(burst_result(seen(0, 3_500), reading(ENI_A), stops=(REQUESTS, much)))
    assert verdict.headline.startswith("Security group")
    assert "7,000 of their packets" in verdict.explanation[0]
    assert len(verdict.remedies) == 2


def test_firewalls_and_a_quota() -> None:
    """Questions that the resolver's quota dropped are no packets of connections, however many they are."""
    quota = DropCount("resolver", "dns_quota", "1,024 packets/s per interface", dropped_packets=9_000)
    verdict = judge(burst_result(seen(0, 1_000), reading(ENI_A), stops=(quota, REQUESTS)))
    assert verdict.headline.startswith("Network ACL forbids it")
    assert "2,000 of their packets were dropped by egress of the network ACL strict" in verdict.explanation[0]
    assert any("9,000 questions" in sentence for sentence in verdict.explanation[1:])
    assert len(verdict.remedies) == 1


def test_throttled() -> None:
    """Each function that was throttled needs as much concurrency as it has invocations; others are not told of."""
    clients = replace(seen(150), invocations=InvocationCount(200, 150, 0, 0, throttled=50))
    let_in = FunctionResult(
        function="checkout",
        reserved_concurrency=None,
        offered=50,
        served=50,
        failed=0,
        attempted=50,
        established=50,
        predicted_established=50,
        predicted_throttled=0,
    )
    throttled = replace(let_in, function="reports", reserved_concurrency=100, offered=150, throttled=50, served=100)
    verdict = judge(replace(burst_result(clients, reading(ENI_A)), functions=(let_in, throttled)))
    assert verdict.headline == "Throttled by reserved concurrency of reports (100): 50 of 150 invocations"
    first, wait = verdict.remedies
    assert first.startswith("Raise the reserved concurrency of reports to 150")
    assert wait.startswith("Let them wait")
