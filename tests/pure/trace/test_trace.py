"""Following one connection, of which each node has what a test says: where it ended, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from lab.errors import UsageError
from lab.impair.faults import Faults, Impairment
from lab.kernel.netfilter.conntrack import Endpoint, Entry, Flow
from lab.kernel.sockets import Socket
from lab.nodes.build import build
from lab.plan.objects import DropCounter
from lab.slots.counters import NatNode
from lab.topology import Topology
from lab.trace import Surroundings, Trace, TracedLab, end_of, follow
from tests.support.topologies import shipped

TCP = 6
SOURCE = end_of("100.65.0.0:536")
BEHIND = end_of("10.0.1.4:536")
PUBLIC = end_of("198.51.100.2:2000")
CACHE = end_of("203.0.113.10:443")
ENI, NATGW = "eni-private-a", "natgw"


def entry(source: Endpoint, translated: Endpoint, state: str = "ESTABLISHED", *, answered: bool = True) -> Entry:
    """A conntrack entry to `cache`."""
    return Entry(Flow(TCP, source, CACHE), Flow(TCP, CACHE, translated), state, answered, 300, 1)


@dataclass
class Nodes:
    """A view: what each node has."""

    entries: dict[str, Entry] = field(default_factory=dict)
    refused: dict[str, Flow] = field(default_factory=dict)
    open: dict[str, Socket] = field(default_factory=dict)

    def _here(self, namespace: str) -> list[Entry]:
        return [each for node, each in self.entries.items() if namespace.endswith(f"-{node}")]

    def entries_from(self, namespace: str, protocol: int, source: Endpoint) -> Sequence[Entry]:
        """By who began."""
        wanted = (protocol, source)
        return [each for each in self._here(namespace) if (each.original.protocol, each.original.source) == wanted]

    def entries_to(self, namespace: str, protocol: int, translated: Endpoint) -> Sequence[Entry]:
        """By what translation gave."""
        wanted = (protocol, translated)
        return [each for each in self._here(namespace) if (each.reply.protocol, each.reply.destination) == wanted]

    def refused_ago_s(self, node: NatNode, flow: Flow) -> float | None:
        """Twelve seconds ago, if at all."""
        return 12.0 if self.refused.get(node.node) == flow else None

    def sockets(self, namespace: str) -> Sequence[Socket]:
        """One at most."""
        return [each for node, each in self.open.items() if namespace.endswith(f"-{node}")]


def traced(
    nodes: Nodes,
    end: Endpoint = SOURCE,
    *,
    topology: Topology | None = None,
    dropped: dict[DropCounter, int] | None = None,
    impairments: Sequence[Impairment] = (),
) -> Trace:
    """The only trace."""
    made = topology or shipped("two_subnets")
    around = Surroundings(dropped or {}, impairments)
    (trace,) = follow(TracedLab(build(made), made, nodes, around), end)
    return trace


def at_eni(state: str = "ESTABLISHED", *, answered: bool = True) -> dict[str, Entry]:
    """The ENI has it."""
    return {ENI: entry(SOURCE, BEHIND, state, answered=answered)}


def at_natgw(state: str = "ESTABLISHED", *, answered: bool = True) -> dict[str, Entry]:
    """The NAT gateway has it."""
    return {NATGW: entry(BEHIND, PUBLIC, state, answered=answered)}


def told(trace: Trace) -> tuple[str, str | None, str]:
    """Its end."""
    return trace.outcome, trace.died_at, trace.conclusion


@pytest.mark.parametrize("end", [SOURCE, BEHIND, PUBLIC])
def test_established(end: Endpoint) -> None:
    """From any of its ends, the whole way is found, with each translation."""
    trace = traced(Nodes({**at_eni(), **at_natgw()}), end)
    assert told(trace) == ("established", None, "It is established; cache sees it as 198.51.100.2:2000.")
    assert [(each.node, each.text) for each in trace.hops] == [
        ("fn-checkout", "100.65.0.0:536 to 203.0.113.10:443 (cache)"),
        (ENI, "ESTABLISHED, 300 s left, slot in connections; leaves as 10.0.1.4:536"),
        ("vpc", "routes cache to natgw, keeps no state"),
        (NATGW, "ESTABLISHED, 300 s left, slot in eip1_cache_tcp; leaves as 198.51.100.2:2000"),
        ("srv-cache", "sees 198.51.100.2:2000; no socket: the lab's responder keeps none"),
    ]


def test_refused_by_the_eni() -> None:
    """No node behind it has seen the connection."""
    trace = traced(Nodes(refused={ENI: Flow(TCP, SOURCE, CACHE)}))
    assert (trace.outcome, trace.died_at) == ("refused", ENI)
    assert trace.conclusion == (
        "It died at eni-private-a, a Hyperplane ENI, which refused it 12 s ago, when its 65,000 connections were "
        "taken; it was dropped without an answer."
    )
    assert trace.hops[1].text == "refused it 12 s ago; has no entry of it"


@pytest.mark.parametrize("end", [SOURCE, BEHIND])
def test_refused_by_the_nat_gateway(end: Endpoint) -> None:
    """The ENI has an entry that waits for an answer."""
    nodes = Nodes(at_eni("SYN_SENT", answered=False), {NATGW: Flow(TCP, BEHIND, CACHE)})
    outcome, died_at, conclusion = told(traced(nodes, end))
    assert (outcome, died_at) == ("refused", NATGW)
    assert "when its 165,000 connections to cache (3 Elastic IPs) were taken" in conclusion


def test_refused_and_known_by_the_eni_s_address_alone() -> None:
    """Where the ENI has forgotten whose it was, the rest is told all the same."""
    trace = traced(Nodes(refused={NATGW: Flow(TCP, BEHIND, CACHE)}), BEHIND)
    assert (trace.outcome, trace.died_at, trace.function, trace.source) == ("refused", NATGW, None, None)
    assert [each.node for each in trace.hops] == [ENI, "vpc", NATGW, "srv-cache"]


def test_forgotten_by_the_nat_gateway() -> None:
    """An entry at the ENI alone, of a connection that was answered, is one that was idle for too long further on."""
    outcome, died_at, conclusion = told(traced(Nodes(at_eni())))
    assert (outcome, died_at) == ("forgotten", NATGW)
    assert conclusion == (
        "natgw has forgotten it, and eni-private-a has not: it was idle for longer than 350 s there; its next packet "
        "is answered with a RST."
    )


def test_closed_and_held_at_one_node() -> None:
    """A port hold that is longer at the ENI is no idle timeout of the NAT gateway."""
    outcome, died_at, conclusion = told(traced(Nodes(at_eni("TIME_WAIT"))))
    assert (outcome, died_at) == ("closing", None)
    assert conclusion == "It was closed: natgw has let go of it, eni-private-a keeps it for 300 s more."


def test_forgotten_by_all() -> None:
    """A socket that is open, and no entry anywhere."""
    trace = traced(Nodes(open={"fn-checkout": Socket(SOURCE, CACHE, "ESTABLISHED")}))
    assert (trace.outcome, trace.hops[0].socket) == ("forgotten", "ESTABLISHED")
    assert "idle for longer than 350 s" in trace.conclusion


def test_never_seen() -> None:
    """No node has anything: a statement, with what may have been."""
    trace = traced(Nodes())
    assert (trace.outcome, trace.server) == ("never_seen", "cache")
    assert "a refusal after 140 s, an idle connection after 350 s" in trace.conclusion


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            "192.168.0.1:5",
            "no node of the lab has the address 192.168.0.1. Of the execution environments and clients, those of",
        ),
        ("198.51.100.1:5", "natgw has no connection from 198.51.100.1:5"),
        ("203.0.113.10:443", "203.0.113.10 is an address of srv-cache"),
    ],
)
def test_an_end_of_nobody(end: str, said: str) -> None:
    """It is said whose address it is, and which ones are the function's."""
    trace = traced(Nodes(), end_of(end))
    assert (trace.outcome, trace.hops) == ("never_seen", ())
    assert said in trace.conclusion


def test_silence() -> None:
    """Unanswered everywhere: what somebody has set on the way explains it, or nothing does."""
    nodes = Nodes({**at_eni("SYN_SENT", answered=False), **at_natgw("SYN_SENT", answered=False)})
    silent = Impairment("srv-cache", "inet", Faults(silence=True), 3)
    slow = Impairment("natgw", "vpc", Faults(latency_s=0.1), 0)
    elsewhere = Impairment("resolver", "svc", Faults(silence=True), 3)
    outcome, died_at, conclusion = told(traced(nodes, impairments=(slow, elsewhere, silent)))
    assert (outcome, died_at) == ("silent", "srv-cache")
    assert "resolver" not in conclusion
    assert "srv-cache inet is set to silence (lab impair)" in conclusion
    assert told(traced(nodes))[1] is None
    assert "nothing on the way says why" in traced(nodes).conclusion


def test_an_answer_that_did_not_come_back() -> None:
    """The NAT gateway has had one, the ENI has not."""
    nodes = Nodes({**at_eni("SYN_SENT", answered=False), **at_natgw("SYN_RECV")})
    assert traced(nodes).conclusion.startswith("The server answered natgw, and the answer did not reach eni-private-a")


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("SYN_RECV", "half_open"), ("FIN_WAIT", "closing"), ("TIME_WAIT", "closing"), ("CLOSE", "closing")],
)
def test_states(state: str, outcome: str) -> None:
    """What is neither established nor dead."""
    assert traced(Nodes({**at_eni(state), **at_natgw(state)})).outcome == outcome


def test_stopped_by_a_security_group() -> None:
    """Its counter proves that it drops; without that it would be no more than a suspicion."""
    made = shipped("security_group")
    (gate,) = build(made).barriers
    trying = Nodes(open={"fn-checkout": Socket(SOURCE, CACHE, "SYN_SENT")})
    outcome, died_at, conclusion = told(traced(trying, topology=made, dropped={gate: 4}))
    assert (outcome, died_at) == ("stopped", "eni-private-a-locked")
    assert conclusion == (
        "It died at eni-private-a-locked: egress of the security-group set locked does not allow tcp to cache, "
        "port 443, and 4 packets have been dropped there in all."
    )
    silent = traced(Nodes(), topology=made, dropped={gate: 4})
    assert silent.conclusion.startswith("Nothing is known of it; if it was tried, it died at eni-private-a-locked")
    unproved = traced(Nodes(), topology=made)
    assert unproved.outcome == "never_seen"
    assert "It would not get through: egress of the security-group set locked" in unproved.conclusion


def test_stopped_by_a_network_acl() -> None:
    """Answers are dropped between the NAT gateway and the ENI; who has had one has passed."""
    made = shipped("network_acl")
    (gate,) = (each for each in build(made).barriers if each.answers and each.direction == "ingress")
    half = Nodes({**at_eni("SYN_SENT", answered=False), **at_natgw("SYN_RECV")})
    outcome, died_at, conclusion = told(traced(half, topology=made, dropped={gate: 2}))
    assert (outcome, died_at) == ("stopped", "vpc")
    assert "ingress of the network ACL strict forbids the answers of cache, and 2 answers" in conclusion
    assert traced(Nodes({**at_eni(), **at_natgw()}), topology=made, dropped={gate: 2}).outcome == "established"
    assert traced(Nodes(), topology=made, dropped={gate: 2}).outcome == "never_seen"


def test_no_route() -> None:
    """The ENI let it pass, and the VPC had nowhere to send it."""
    made = shipped("no_route")
    (gate,) = (each for each in build(made).barriers if each.kind == "no_route")
    source, behind = end_of("100.65.32.0:536"), end_of("10.0.2.4:536")
    nodes = Nodes({"eni-private-b": entry(source, behind, "SYN_SENT", answered=False)})
    trace = traced(nodes, source, topology=made, dropped={gate: 3})
    assert (trace.outcome, trace.died_at) == ("stopped", "vpc")
    assert [each.node for each in trace.hops] == ["fn-checkout", "eni-private-b", "vpc", "srv-cache"]


def test_through_an_interface_endpoint() -> None:
    """The destination is translated, the source stays the ENI's."""
    made = shipped("privatelink")
    plan = build(made)
    to = Endpoint(plan.servers[0].address, 443)
    at_endpoint = Entry(
        Flow(TCP, BEHIND, to), Flow(TCP, CACHE, BEHIND), "ESTABLISHED", answered=True, timeout_s=9, mark=1
    )
    at_its_eni = Entry(Flow(TCP, SOURCE, to), Flow(TCP, to, BEHIND), "ESTABLISHED", answered=True, timeout_s=9, mark=1)
    trace = traced(Nodes({ENI: at_its_eni, "vpce-cache": at_endpoint}), topology=made)
    assert trace.outcome == "established"
    assert trace.hops[3].text == "ESTABLISHED, 9 s left, slot in cache_tcp to 203.0.113.10:443"
    assert trace.hops[4].text.startswith("sees 10.0.1.4:536")


def test_refused_by_an_interface_endpoint() -> None:
    """It refuses what is translated already, so the tuple that it remembers has the server's own address."""
    made = with_target_limit(shipped("privatelink"), 50)
    to = Endpoint(build(made).servers[0].address, 443)
    waiting = Entry(Flow(TCP, SOURCE, to), Flow(TCP, to, BEHIND), "SYN_SENT", answered=False, timeout_s=9, mark=1)
    nodes = Nodes({ENI: waiting}, {"vpce-cache": Flow(TCP, BEHIND, CACHE)})
    for end in (SOURCE, BEHIND):
        trace = traced(nodes, end, topology=made)
        assert (trace.outcome, trace.died_at) == ("refused", "vpce-cache")
        assert trace.conclusion == (
            "It died at vpce-cache, an interface endpoint, which refused it 12 s ago, when its 50 connections to cache "
            "were taken; it was dropped without an answer."
        )


def with_target_limit(topology: Topology, connections: int) -> Topology:
    """The same with such a limit of its interface endpoint's load balancer."""
    (endpoint,) = topology.interface_endpoints
    limited = endpoint.model_copy(update={"connections_per_target": connections})
    vpc = topology.vpcs[0].model_copy(update={"interface_endpoints": (limited,)})
    return topology.model_copy(update={"vpc": vpc})


def test_outside_the_vpc() -> None:
    """Nothing on the way keeps state; the sockets tell."""
    made = shipped("outside_vpc")
    path = build(made).fleets[1].paths[0]
    source = Endpoint(path.first_address, 700)
    trace = traced(Nodes(open={"fn-outside": Socket(source, CACHE, "ESTABLISHED")}), source, topology=made)
    assert told(trace) == (
        "established",
        None,
        "Nothing tracks it: no ENI and no NAT gateway is on its way; its socket is ESTABLISHED.",
    )


def test_several_connections_of_one_end() -> None:
    """One port may lead to two servers; each is a trace, and one can be asked for."""
    made = shipped("two_servers")
    store = build(made).servers[1]
    to = Endpoint(store.address, store.port)

    class Both(Nodes):
        def entries_from(self, namespace: str, protocol: int, source: Endpoint) -> Sequence[Entry]:
            found = [entry(SOURCE, BEHIND), entry(SOURCE, BEHIND)._replace(original=Flow(TCP, SOURCE, to))]
            return found if namespace.endswith(ENI) and (protocol, source) == (TCP, SOURCE) else []

    lab = TracedLab(build(made), made, Both(), Surroundings({}))
    assert [each.server for each in follow(lab, SOURCE)] == ["cache", store.name]
    assert [each.server for each in follow(lab, SOURCE, store.name)] == [store.name]
    with pytest.raises(UsageError, match="no server 'nobody'; known: cache"):
        follow(lab, SOURCE, "nobody")


def test_document() -> None:
    """A trace in JSON's own types."""
    document = traced(Nodes({**at_eni(), **at_natgw()})).to_json()
    assert (document["protocol"], document["source"], document["destination"]) == ("tcp", str(SOURCE), str(CACHE))
    assert document["hops"][1]["conntrack"]["reply"] == {"source": str(CACHE), "destination": str(BEHIND)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100.65.0.0", "the port is missing"),
        ("cache:443", "'cache' is no IPv4 address"),
        ("100.65.0.256:1", "'100.65.0.256' is no IPv4 address"),
        ("::1:80", "'::1' is no IPv4 address"),
        (":80", "'' is no IPv4 address"),
        ("100.65.0.0:0", "a port is 1 to 65535, not '0'"),
        ("100.65.0.0:65536", "a port is 1 to 65535, not '65536'"),
        ("100.65.0.0:", "a port is 1 to 65535, not ''"),
        ("100.65.0.0:-1", "a port is 1 to 65535, not '-1'"),
        ("100.65.0.0:\u0661", "a port is 1 to 65535"),
        (f"100.65.0.0:{'9' * 5000}", "a port is 1 to 65535"),
    ],
)
def test_what_is_no_end(text: str, said: str) -> None:
    """What is wrong, with an example of what is right."""
    with pytest.raises(UsageError) as refused:
        end_of(text)
    assert said in str(refused.value)
    assert "such as 100.65.0.0:536" in str(refused.value)


def test_an_end() -> None:
    """An address and a port."""
    assert end_of("100.65.0.0:65535") == (IPv4Address("100.65.0.0"), 65_535)


# ── More than one VPC ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [SOURCE, end_of("10.1.1.4:536"), PUBLIC])
def test_through_a_transit_gateway(end: Endpoint) -> None:
    """Each VPC and the Transit Gateway between them are on the way, from whichever end one asks."""
    behind = end_of("10.1.1.4:536")
    nodes = Nodes({"eni-orders": entry(SOURCE, behind), NATGW: entry(behind, PUBLIC)})
    trace = traced(nodes, end, topology=shipped("transit_gateway"))
    assert [(hop.node, hop.kind) for hop in trace.hops] == [
        ("fn-checkout", "fleet"),
        ("eni-orders", "hyperplane_eni"),
        ("vpc-orders", "vpc"),
        ("tgw", "transit_gateway"),
        ("vpc-egress", "vpc"),
        ("natgw", "nat_gateway"),
        ("srv-cache", "server"),
    ]
    assert [hop.text for hop in trace.hops[2:5]] == [
        "routes cache to tgw, keeps no state",
        "routes cache to vpc-egress, keeps no state",
        "routes cache to natgw, keeps no state",
    ]
    assert (trace.source, trace.outcome) == (SOURCE, "established")


def test_a_transit_gateway_without_a_default_route() -> None:
    """A connection died there, as its counter proves."""
    made = shipped("transit_gateway")
    closed = made.model_copy(
        update={"transit_gateways": (made.transit_gateways[0].model_copy(update={"default_route": None}),)}
    )
    (counter,) = build(closed).barriers
    nodes = Nodes({"eni-orders": entry(SOURCE, end_of("10.1.1.4:536"), "SYN_SENT", answered=False)})
    outcome, died_at, conclusion = told(traced(nodes, topology=closed, dropped={counter: 3}))
    assert (outcome, died_at) == ("stopped", "tgw")
    assert "the Transit Gateway tgw has no route to cache, and 3 packets have been dropped there" in conclusion


# ── A server that keeps so many connections only ────────────────────────────────────────────────────────────

FULL = shipped("server_full")
DATABASE, SECOND = end_of("203.0.113.10:3306"), end_of("192.0.2.3:3306")


def database(source: Endpoint, translated: Endpoint, replies: Endpoint = DATABASE, mark: int = 1) -> Entry:
    """A conntrack entry to `orders-db`."""
    flows = Flow(TCP, source, DATABASE), Flow(TCP, replies, translated)
    return Entry(*flows, state="ESTABLISHED", answered=True, timeout_s=300, mark=mark)


ON_THE_WAY = {"eni-private": database(SOURCE, BEHIND), NATGW: database(BEHIND, PUBLIC)}
"""The ENI and the NAT gateway have it."""


def test_kept_by_the_server() -> None:
    """The server's line has what its front knows of the connection, too."""
    trace = traced(Nodes({**ON_THE_WAY, "front-orders-db": database(PUBLIC, PUBLIC)}), topology=FULL)
    assert trace.outcome == "established"
    assert trace.hops[-1].text == (
        "sees 198.51.100.2:2000; no socket: the lab's responder keeps none; "
        "ESTABLISHED, 300 s left, slot in connections"
    )


def test_turned_away_by_the_server() -> None:
    """It has an entry and no slot: it was refused, by being accepted and closed."""
    entries = {**ON_THE_WAY, "front-orders-db": database(PUBLIC, PUBLIC, SECOND, mark=2)}
    refused = {"srv-orders-db": Flow(TCP, PUBLIC, DATABASE)}
    trace = traced(Nodes(entries, refused), topology=FULL)
    assert told(trace) == (
        "refused",
        "srv-orders-db",
        (
            "It died at srv-orders-db, a server, which refused it 12 s ago, when its 40 connections to orders-db were "
            "taken; it was accepted and closed at once."
        ),
    )


def test_nobody_at_the_server_but_its_front() -> None:
    """A server that leaves it unanswered has refused it."""
    made = FULL.model_copy(update={"servers": (FULL.servers[0].model_copy(update={"when_full": "ignore"}),)})
    trace = traced(Nodes(ON_THE_WAY, {"srv-orders-db": Flow(TCP, PUBLIC, DATABASE)}), topology=made)
    assert trace.hops[-1].text == "refused it 12 s ago; has no entry of it"
    assert trace.conclusion.endswith("it was dropped without an answer.")
