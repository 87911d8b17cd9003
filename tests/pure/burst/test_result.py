"""A burst's two accounts in one result, and its JSON."""

from __future__ import annotations

from dataclasses import replace
import json

import pytest

from lab.burst.accounts import assemble
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.capacity.predict import predict
from lab.impair.faults import Faults, Impairment
from lab.nodes.resolver.model import Resolver
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking
from lab.schema.drops import DropCount
from lab.slots.fill import Fill, HalfOpen
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen, with_tcp
from tests.support.topologies import shipped
from traffic.result import EngineResult, TcpCount
from traffic.spec import Engine

FIRST, SECOND, THIRD = eips(3)
AGREEING = (
    reading(ENI_A, 65_000, 20_000, 5_000),
    reading(ENI_B, 65_000, 20_000, 5_000),
    reading(FIRST, 50_000),
    reading(SECOND, 50_000),
    reading(THIRD, 30_000),
)
CLIENTS = seen(130_000, 10_000, retransmissions=30_000)


def test_document() -> None:
    """The JSON document has the fields that other programs rely on, and survives JSON."""
    result = assemble(
        "two-subnets",
        Load(connections=140_000),
        Resolver(),
        predict(shipped("two_subnets"), 140_000),
        Observation(clients=CLIENTS, readings=AGREEING, first_to_refuse=AGREEING[0]),
    )
    document = json.loads(json.dumps(result.to_json()))
    assert document["schema"] == 1
    assert (document["lab"], document["engine"], document["offered"]) == ("two-subnets", "packet", 140_000)
    assert document["dns"] == {"asked": 140_000, "answered": 140_000, "failed": 0, "emfile": 0}
    assert document["tcp"] == {
        "attempted": 140_000,
        "established": 130_000,
        "timed_out": 10_000,
        "refused": 0,
        "reset": 0,
        "syn_retransmissions": 30_000,
        "established_at_syn": [130_000],
        "half_open": 0,
        "open": 130_000,
        "closed_by_server": 0,
        "challenged_syns": 0,
        "challenged": 0,
        "without_port": 0,
        "emfile": 0,
    }
    assert (document["drop_threshold"], document["bottleneck"]) == (130_000, "hyperplane_eni")
    assert document["predicted"] == {
        "established": 130_000,
        "drop_threshold": 130_000,
        "bottleneck": "hyperplane_eni",
        "emfile": 0,
        "unknown": None,
    }
    assert {"duration_s", "connect_phase_s", "handshakes_per_s"} <= document["timing"].keys()
    sample = {"t_s": 0.5, "attempted": 140_000, "established": 130_000, "timed_out": 0}
    assert document["series"][0] == {**sample, "open": 0, "served": 0, "reused": 0}
    assert document["disagreements"] == []


def test_limits() -> None:
    """There is one entry per ENI and one per Elastic IP, in the kernel's numbers."""
    eni, *_, eip = burst_result(CLIENTS, *AGREEING).to_json()["limits"]
    assert eni == {
        "node": "eni-private-a",
        "kind": "hyperplane_eni",
        "limit": 65_000,
        "peak": 65_000,
        "dropped_packets": 20_000,
        "dropped_connections": 5_000,
        "eip": None,
        "destination": None,
        "address": None,
        "when_full": "ignore",
        "fill": None,
        "before": None,
        "refused_before": 0,
        "first_refusal_s": None,
        "spills_over": True,
        "of": None,
        "client": None,
    }
    assert (eip["node"], eip["eip"], eip["destination"]) == ("natgw", "198.51.100.3", "cache")


def test_half_open_connections_that_expired() -> None:
    """What was half-open before the burst and has expired since is no connection of the burst that is missing."""
    nat = eips(1)[0]
    earlier = (HalfOpen("cache", 5, 110, 9, 120, earlier=5),)
    before = replace(reading(nat, 7), fill=Fill(2, earlier))
    result = burst_result(seen(10), replace(reading(nat, 12), fill=Fill(12)), held_before=(before,))
    assert result.disagreements == ()


@pytest.mark.parametrize(("held", "differ"), [(9, True), (10, False), (12, False), (15, False), (16, True)])
def test_slots_of_what_was_closed_before(held: int, *, differ: bool) -> None:
    """Slots of connections that were closed before the burst may become free while it goes on, and no others."""
    nat = eips(1)[0]
    before = replace(reading(nat, 7), fill=Fill(2, closing=5, closing_free_s=1))
    result = burst_result(seen(8), replace(reading(nat, held), fill=Fill(held)), held_before=(before,))
    assert bool(result.disagreements) == differ


def test_an_eni_that_has_not_appeared_is_no_entry() -> None:
    """Of ENIs that may yet appear a result says nothing; once one is there it has an entry like the others."""
    further = replace(reading(replace(ENI_A, node="eni-private-a-2", of="eni-private-a")), appeared=False)
    nodes = [limit.node for limit in burst_result(CLIENTS, *AGREEING, further).limits]
    assert nodes == [each.limiter.node for each in AGREEING]
    there = replace(further, appeared=True).since(further)
    assert burst_result(CLIENTS, *AGREEING, there).limits[-1].node == "eni-private-a-2"


def test_no_bottleneck() -> None:
    """A burst that nobody refused has no bottleneck and no threshold."""
    result = burst_result(seen(10), reading(ENI_A, 10), reading(FIRST, 10))
    assert (result.bottleneck, result.drop_threshold, result.disagreements) == (None, None, ())


def test_agreement_counts_from_before() -> None:
    """Connections that were there before are no disagreement."""
    before = (reading(ENI_A, 7), reading(FIRST, 7))
    result = burst_result(seen(10), reading(ENI_A, 17), reading(FIRST, 17), held_before=before)
    assert result.disagreements == ()


def test_timeouts_that_nobody_caused() -> None:
    """Timed-out connections that no limiter refused are a disagreement, with both numbers."""
    clients = seen(10, 5, retransmissions=1_000)
    found = burst_result(clients, reading(ENI_A, 15, packets=1_005, connections=2), reading(FIRST, 10))
    assert found.disagreements == (
        "clients: 5 connections with SYNs that were never answered; kernel: 2 connections refused by a limiter",
    )


def test_lost_syns() -> None:
    """SYNs that got no answer although no limiter refused them are a disagreement."""
    found = burst_result(seen(10, retransmissions=1), reading(ENI_A, 10), reading(FIRST, 10))
    assert found.disagreements == ("clients: 1 SYN that was never answered; kernel: 0 SYNs dropped on the way",)


def test_syns_without_a_port_are_the_kernels() -> None:
    """SYNs that a port search lost are accounted for, by their number: what they do not explain is a disagreement."""
    clients = with_tcp(seen(10, retransmissions=2), established_at_syn=(8, 2))
    readings = reading(ENI_A, 10), reading(FIRST, 10)
    assert burst_result(clients, *readings, ports_not_found=2).disagreements == ()
    assert burst_result(clients, *readings, ports_not_found=1).disagreements == (
        "clients: 2 SYNs that were never answered; kernel: 1 SYN dropped on the way",
        "clients: 2 connections with SYNs that were never answered; kernel: 1 connection refused by a limiter",
    )
    assert len(burst_result(seen(10), *readings, ports_not_found=1).disagreements) == 1


def test_connections_that_the_kernel_lacks() -> None:
    """Established connections without a NAT gateway's slot are a disagreement."""
    (found,) = burst_result(seen(1_000), reading(ENI_A, 1_000), reading(FIRST, 999)).disagreements
    assert found == "clients: 1,000 connections established; kernel: 999 connections that hold a NAT gateway's slot"


@pytest.mark.parametrize("held", [10, 13, 17])
def test_refused_connections_hold_slots_for_a_moment(held: int) -> None:
    """Slots that refused connections still hold, before the collector has come by, are no disagreement."""
    assert burst_result(seen(10, refused=7), reading(ENI_A, held), reading(FIRST, held)).disagreements == ()


@pytest.mark.parametrize("held", [9, 18])
def test_refused_connections_explain_no_more_than_they_are(held: int) -> None:
    """Fewer slots than established connections, or more than were ever asked for, are a disagreement all the same."""
    (found,) = burst_result(seen(10, refused=7), reading(ENI_A, held), reading(FIRST, held)).disagreements
    assert found.startswith("clients: 10 connections established; kernel: ")


def test_a_ring_that_lost_frames() -> None:
    """Frames that the generator itself lost spoil the burst, and the result says so."""
    (found,) = burst_result(seen(10, lost=3), reading(ENI_A, 10), reading(FIRST, 10)).disagreements
    assert found == "the generator's own ring lost 3 frames"


# ── The two accounts ────────────────────────────────────────────────────────────────────────────────────────

_LATE = with_tcp(seen(10, retransmissions=3), established_at_syn=(8, 1, 1))
"""Ten connections of which one was established by its second SYN, and one by its third."""
_HALF_OPEN = with_tcp(seen(10), established=0, established_at_syn=(), half_open=10, open=0)
_OVER_TIME = Load(connections=10, rate_per_s=10.0, hold_s=1.0)
_UDP = Load(connections=10, protocol="udp")
_OK = (reading(ENI_A, 10), reading(FIRST, 10))

_ACCOUNTS: list[tuple[str, EngineResult, Load | None, tuple[Reading, ...], list[str]]] = [
    ("all agree", seen(10), None, _OK, []),
    (
        "a SYN that was refused and succeeds later is no disagreement",
        _LATE,
        None,
        (reading(ENI_A, 10, 3, 2), reading(FIRST, 10)),
        [],
    ),
    (
        "a SYN that succeeds later and that nobody refused was lost",
        _LATE,
        None,
        _OK,
        [
            "clients: 3 SYNs that were never answered; kernel: 0 SYNs dropped on the way",
            "clients: 2 connections with SYNs that were never answered; kernel: 0 connections refused by a limiter",
        ],
    ),
    (
        "a refusal that no client knows of is somebody else's",
        seen(10),
        None,
        (reading(ENI_A, 10, 1, 1), reading(FIRST, 10)),
        [
            "clients: 0 SYNs that were never answered; kernel: 1 SYN dropped on the way",
            "clients: 0 connections with SYNs that were never answered; kernel: 1 connection refused by a limiter",
        ],
    ),
    (
        "SYNs that are refused by one limiter after the other count once each",
        seen(10, 5, retransmissions=5),
        None,
        (reading(ENI_A, 10, 4, 2), reading(FIRST, 10, 6, 3)),
        [],
    ),
    ("half-open connections hold slots", _HALF_OPEN, None, _OK, []),
    (
        "half-open connections without slots",
        _HALF_OPEN,
        None,
        (reading(ENI_A, 10), reading(FIRST, 9)),
        ["clients: 10 connections established; kernel: 9 connections that hold a NAT gateway's slot"],
    ),
    (
        "over time only SYNs are compared: connections come and go, and ports are used again",
        with_tcp(seen(10, 2, retransmissions=2), open=0),
        _OVER_TIME,
        (reading(ENI_A, 3, 4, 1), reading(FIRST, 2)),
        [],
    ),
    (
        "over time lost SYNs are still found",
        seen(10, retransmissions=1),
        _OVER_TIME,
        _OK,
        ["clients: 1 SYN that was never answered; kernel: 0 SYNs dropped on the way"],
    ),
    (
        "flows have no SYNs but first datagrams",
        seen(10, 5),
        _UDP,
        _OK,
        [
            "clients: 5 first datagrams that were never answered; kernel: 0 first datagrams dropped on the way",
            (
                "clients: 5 connections with first datagrams that were never answered; "
                "kernel: 0 connections refused by a limiter"
            ),
        ],
    ),
]


@pytest.mark.parametrize(
    ("clients", "load", "readings", "words"), [case[1:] for case in _ACCOUNTS], ids=[case[0] for case in _ACCOUNTS]
)
def test_accounts(clients: EngineResult, load: Load | None, readings: tuple[Reading, ...], words: list[str]) -> None:
    """The clients' numbers and the kernel's are compared where they mean the same."""
    assert list(burst_result(clients, *readings, load=load).disagreements) == words


def test_slots_and_conntrack() -> None:
    """A node whose slots and conntrack entries come to different numbers at the end is a disagreement."""
    tracking = (Tracking("eni-private-a", 7, 7), Tracking("natgw", 3, 5))
    result = burst_result(seen(10), *_OK, tracking=tracking)
    assert result.disagreements == ("natgw, when all was closed: 3 slots, 5 conntrack entries",)
    assert json.loads(json.dumps(result.to_json()))["tracking"] == [
        {"node": "eni-private-a", "slots": 7, "conntrack": 7},
        {"node": "natgw", "slots": 3, "conntrack": 5},
    ]


def test_incidents() -> None:
    """What has ended during the burst is told, and is no disagreement."""
    result = burst_result(seen(10), *_OK, incidents=("the resolver has ended during the burst",))
    assert (result.disagreements, len(result.incidents)) == ((), 1)
    assert result.to_json()["incidents"] == ("the resolver has ended during the burst",)


def test_flows_are_told_apart() -> None:
    """The document of a burst over UDP has `udp` where the others have `tcp`, with the same fields."""
    tcp, udp = burst_result(seen(10), *_OK).to_json(), burst_result(seen(10), *_OK, load=_UDP).to_json()
    assert "udp" not in tcp
    assert "tcp" not in udp
    assert udp["udp"] == tcp["tcp"]
    assert (tcp["protocol"], udp["protocol"]) == ("tcp", "udp")
    json.dumps(udp)


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_packets_are_the_scapy_engine_s(engine: Engine) -> None:
    """Only the engine that sees packets has a field for them."""
    document = burst_result(seen(10), *_OK, load=Load(connections=10, engine=engine)).to_json()
    assert ("packets" in document) is (engine == "scapy")
    assert document["engine"] == engine


@pytest.mark.parametrize(
    ("tcp", "answered", "unanswered_syns", "ever_unanswered"),
    [
        (TcpCount(10, 10, 0, 0, 0, 0, (10,)), 10, 0, 0),
        (TcpCount(10, 6, 4, 0, 0, 16, (6,)), 6, 20, 4),
        (TcpCount(10, 9, 0, 0, 1, 3, (8, 2)), 10, 3, 2),  # one was reset after it had been established
        (TcpCount(10, 0, 0, 10, 0, 0), 10, 0, 0),  # a RST is an answer
        (TcpCount(10, 0, 2, 0, 0, 2, (), 8), 8, 4, 2),
        (TcpCount(10, 10, 0, 0, 0, 4, (7, 2, 1), challenged_syns=3, challenged=2), 10, 1, 1),  # TIME_WAIT answered 3
    ],
)
def test_what_syns_came_to(tcp: TcpCount, answered: int, unanswered_syns: int, ever_unanswered: int) -> None:
    """SYNs without an answer are all that were sent, less one for each connection that was answered."""
    assert (tcp.answered, tcp.unanswered_syns, tcp.ever_unanswered) == (answered, unanswered_syns, ever_unanswered)


@pytest.mark.parametrize(("timed_out", "bottleneck"), [(5, "hyperplane_eni"), (0, None)])
def test_a_bottleneck_is_who_made_somebody_time_out(timed_out: int, bottleneck: str | None) -> None:
    """A limiter whose refusals were all waited out is no bottleneck."""
    full = reading(ENI_A, 10, 5, 5)
    assert burst_result(seen(10, timed_out), full, reading(FIRST, 10), first=full).bottleneck == bottleneck


def test_since() -> None:
    """Refusals count from an earlier reading, slots as they are."""
    before, after = reading(ENI_A, 5, 100, 10), reading(ENI_A, 8, 140, 12)
    assert after.since(before) == reading(ENI_A, 8, 40, 2)


# ── Barriers ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dropped", "differ"), [(2_000, False), (1_999, True), (2_001, True)])
def test_requests_that_a_barrier_drops(dropped: int, *, differ: bool) -> None:
    """Every SYN that a barrier drops is one that nobody answered, and the other way round."""
    stop = DropCount("vpc", "network_acl", "strict", "egress", dropped_packets=dropped)
    clients = seen(500, 1_000, retransmissions=1_000)
    result = burst_result(clients, reading(ENI_A, 1_500), reading(FIRST, 500), stops=(stop,))
    assert bool(result.disagreements) is differ


@pytest.mark.parametrize(
    ("requests", "answers", "differ"),
    [(0, 2_000, False), (0, 1_999, True), (0, 3_500, False), (500, 1_500, False), (500, 1_499, True), (2_001, 1, True)],
)
def test_answers_that_a_barrier_drops(requests: int, answers: int, *, differ: bool) -> None:
    """A dropped answer is an unanswered SYN, but for the answers that a kernel repeats by itself."""
    stops = (
        DropCount("vpc", "network_acl", "out", "egress", dropped_packets=requests),
        DropCount("vpc", "network_acl", "in", "ingress", answers=True, dropped_packets=answers),
    )
    clients = seen(500, 1_000, retransmissions=1_000)
    result = burst_result(clients, reading(ENI_A, 1_500), reading(FIRST, 1_500), stops=stops)
    assert bool(result.disagreements) is differ


def test_slots_are_compared_where_requests_are_dropped() -> None:
    """What is dropped before the NAT gateway holds none of its slots."""
    stop = DropCount("vpc", "network_acl", "strict", "egress", dropped_packets=1_000)
    result = burst_result(seen(500, 1_000), reading(ENI_A, 1_500), reading(FIRST, 501), stops=(stop,))
    assert "501 connections that hold a NAT gateway's slot" in result.disagreements[0]


@pytest.mark.parametrize(("dropped", "differ"), [(4, False), (3, True)])
def test_what_a_fault_drops_is_no_difference(dropped: int, *, differ: bool) -> None:
    """Accounts differ by what lab impair's faults dropped, and by no more."""
    fault = Impairment("srv-cache", "inet", Faults(silence=True), dropped)
    result = burst_result(seen(10, 4), reading(FIRST, 14), impairments=(fault,))
    assert bool(result.disagreements) is differ
