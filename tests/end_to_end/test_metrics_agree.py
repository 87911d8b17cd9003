"""Each metric, provoked and counted a second time: by tcpdump in the node, by the server's kernel, by conntrack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
import os
from pathlib import Path
import signal
import socket
import struct
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from scapy.layers.inet import ICMP

from lab.kernel.netns import Namespaces
from lab.kernel.processes import running
from lab.lab import Lab
from lab.metrics import fold
from tests.support.command import run_lab, start_lab
from tests.support.labs import Clients, eventually, inside, slots
from tests.support.machine import require_machine
from tests.support.nodecapture import Capture, Packet

if TYPE_CHECKING:
    from lab.observe.samples import Sample
    from lab.pytest_plugin import LabUp

MakeClients = Callable[[Lab], Clients]

ENI, NAT = "eni-private", "natgw"
ENI_LIMIT, NAT_LIMIT = 60, 6
EIP = "198.51.100.1"
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST
COLLECTOR = "-m\0lab.observe.collector"

TOPOLOGY = """
version: 1
name: counted
hyperplane_eni: {{connection_limit: {eni}, half_open_timeout: 1s, port_hold: 0s}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private, cidr: 10.0.1.0/24, default_route: natgw}}
  nat_gateways:
    - name: natgw
      subnet: public
      elastic_ips: 2
      connections_per_destination: {nat}
      half_open_timeout: 1s
      port_hold: 0s
      idle_timeout: {idle}
functions:
  - {{name: checkout, subnets: [private]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
"""


class Counted:
    """A lab, what its samples say, and what tcpdump has seen in one of its nodes since it came up."""

    def __init__(self, lab: Lab, node: str, capture: Capture) -> None:
        self.lab, self._capture = lab, capture
        self._node = next(each for each in lab.plan.nat_nodes if each.node == node)
        self.inner, self.outer = self._node.inner, self._node.outer
        self.all: list[Packet] = []
        """What tcpdump has seen since `up`, as of the last look."""
        self._samples: list[Sample] = []
        self._seen = 0
        self._before = self._interfaces(lab.sample())

    def begin(self) -> None:
        """Count from here on."""
        self._seen = len(self._at_rest())
        self._samples = self._samples[-1:]

    def look(self) -> None:
        """Take a sample, as the collector does each second."""
        self._samples.append(self.lab.sample())

    def packets(self) -> list[Packet]:
        """What tcpdump has seen since `begin`, when all that is on its way has come by."""
        return self._at_rest()[self._seen :]

    def seen(self, protocol: int | None = None, *, interface: str, sent: bool) -> int:
        """How many of them there are at an interface, in one direction."""
        return len([each for each in self.packets() if _is(each, protocol, interface, sent=sent)])

    def metric(self, name: str, node: str | None = None) -> float:
        """A metric since `begin`, whatever periods that were: of sums the sum."""
        values = self.values(name, self._samples, node)
        return sum(values) if name not in _LEVELS else _LEVELS[name](values)

    def values(self, name: str, samples: list[Sample], node: str | None = None) -> list[float]:
        """The values of a metric's points, by the second."""
        plan = self.lab.plan
        (found,) = (
            each
            for each in fold(samples, plan.nat_nodes, plan.limiters, 1)
            if (each.node, each.metric.name) == (node or self._node.node, name)
        )
        return [each.value for each in found.points]

    def _at_rest(self) -> list[Packet]:
        """All packets, when tcpdump has as many of them as the interfaces, and no more are coming."""

        def is_at_rest() -> bool:
            before, self.all = self.lab.sample().nodes, self._capture.packets()
            sample = self.lab.sample()
            self._samples = [*self._samples, sample]
            return before == sample.nodes and len(self.all) == self._interfaces(sample) - self._before

        assert eventually(is_at_rest), "tcpdump and the interfaces do not agree"
        return self.all

    def _interfaces(self, sample: Sample) -> int:
        """All packets that both interfaces have carried."""
        reading = sample.nodes[self._node.node]
        return sum(each.packets_in + each.packets_out for each in (reading.inner, reading.outer))


_LEVELS: dict[str, Callable[[list[float]], float]] = {
    "ActiveConnectionCount": max,
    "Connections": max,
    "Headroom": min,
}


def _is(packet: Packet, protocol: int | None, interface: str, *, sent: bool) -> bool:
    return (packet.interface, packet.sent) == (interface, sent) and protocol in (None, packet.protocol)


def _counted(path: Path, node: str, stack: ExitStack, **limits: object) -> Counted:
    require_machine("tcpdump", "conntrack", "ss")
    topology = path / "counted.yaml"
    topology.write_text(TOPOLOGY.format(**limits))
    lab = stack.enter_context(Lab.up(topology, name=f"test-{os.getpid()}-{path.name}"))
    return Counted(lab, node, stack.enter_context(Capture(lab.node(node).namespace, path / "node.pcap")))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """A lab whose NAT gateway is watched; it is the first to be full."""
    with ExitStack() as stack:
        yield _counted(tmp_path_factory.mktemp("nat"), NAT, stack, eni=ENI_LIMIT, nat=NAT_LIMIT // 2, idle="350s")


@pytest.fixture(scope="module")
def eni(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """A lab whose Hyperplane ENI is watched, which is the first to be full; its NAT gateway forgets soon."""
    with ExitStack() as stack:
        yield _counted(tmp_path_factory.mktemp("eni"), ENI, stack, eni=4, nat=20, idle="8s")


@pytest.fixture
def counted(gateway: Counted) -> Counted:
    """The NAT gateway with room for all, counted from here on."""
    assert eventually(lambda: slots(gateway.lab, NAT, protocol="tcp") == 0)
    gateway.begin()
    return gateway


@pytest.fixture
def from_fleet(counted: Counted, clients: MakeClients) -> Clients:
    """Clients of that lab."""
    return clients(counted.lab)


def reset(client: socket.socket) -> None:
    """Close with an RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()


def request(client: socket.socket) -> None:
    """One request, and its answer."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 200")


def handshakes(lab: Lab) -> int:
    """How many connections the server's kernel has accepted since it came up (RFC 4022, tcpPassiveOpens)."""
    names, values = (
        line.split() for line in inside(lab, "cache", "cat /proc/net/snmp").splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("PassiveOpens")])


def listed(lab: Lab, node: str, state: str) -> int:
    """How many entries with a word in them conntrack lists in a node."""
    return inside(lab, node, "conntrack -L 2>/dev/null").count(state)


# ── Packets and bytes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def conversation(gateway: Counted) -> tuple[list[Sample], list[Packet]]:
    """Requests, datagrams, closes, resets, a port where nobody listens: samples before and after, and all packets."""
    gateway.begin()
    before = gateway.lab.sample()
    with Namespaces() as namespaces:
        from_fleet = Clients(gateway.lab, namespaces)
        for _ in range(3):
            client = from_fleet.tcp()
            request(client)
            client.close()
        reset(from_fleet.tcp())
        from_fleet.udp().close()
        with pytest.raises(ConnectionRefusedError):
            from_fleet.tcp(port=9)
        for each in from_fleet.open:
            each.close()
    packets = gateway.packets()
    return [before, gateway.lab.sample()], packets


@pytest.mark.parametrize("what", ["Packets", "Bytes"])
@pytest.mark.parametrize(
    ("way", "side", "sent"),
    [
        ("InFromSource", "inner", False),
        ("OutToDestination", "outer", True),
        ("InFromDestination", "outer", False),
        ("OutToSource", "inner", True),
    ],
)
def test_packets_and_bytes(
    gateway: Counted, conversation: tuple[list[Sample], list[Packet]], what: str, way: str, side: str, *, sent: bool
) -> None:
    """Each of the four ways has, to the packet and to the byte of IP, what tcpdump sees there."""
    samples, packets = conversation
    found = [each.length for each in packets if _is(each, None, getattr(gateway, side), sent=sent)]
    assert len(found) > 10
    assert sum(gateway.values(f"{what}{way}", samples)) == (len(found) if what == "Packets" else sum(found))


@pytest.mark.parametrize("what", ["Packets", "Bytes"])
def test_peaks(gateway: Counted, conversation: tuple[list[Sample], list[Packet]], what: str) -> None:
    """The highest average of ten seconds is a tenth of what tcpdump has seen coming in, when it all came within ten."""
    (before, after), packets = conversation
    lengths = [each.length for each in packets if not each.sent]
    received = len(lengths) if what == "Packets" else sum(lengths)
    samples = [replace(before, at_s=1_795_341_783.0), replace(after, at_s=1_795_341_788.0)]
    plan = gateway.lab.plan
    (peak,) = (
        each for each in fold(samples, plan.nat_nodes, plan.limiters, 60) if each.metric.name == f"Peak{what}PerSecond"
    )
    assert [each.value for each in peak.points] == [received / 10]


# ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────


def test_active_connections(counted: Counted, from_fleet: Clients) -> None:
    """The most that the server had open at a time; what is closed or reset, half-open or UDP is not active."""
    opened = [from_fleet.tcp() for _ in range(5)]
    from_fleet.udp()
    counted.lab.impair("cache", silence=True)
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.2)
    counted.lab.clear_impairments("cache")
    counted.look()
    at_server = inside(counted.lab, "cache", "ss -Htn state established").count("\n")
    assert counted.metric("ActiveConnectionCount") == at_server == 5
    reset(opened.pop())
    opened.pop().close()
    from_fleet.open[-1].close()
    assert eventually(lambda: inside(counted.lab, "cache", "ss -Htn state established").count("\n") == 3)
    assert counted.metric("ActiveConnectionCount") == 5
    counted.begin()
    assert counted.metric("ActiveConnectionCount") == 3


def test_connection_attempts(counted: Counted, from_fleet: Clients) -> None:
    """Each connection once, by tcpdump's initial SYNs: refused, reset, to a destination that no one declared, or not.

    One that is refused, and let in when its SYN comes again, is one attempt; flows over UDP are none.
    """
    opened = [from_fleet.tcp() for _ in range(NAT_LIMIT)]
    with pytest.raises(ConnectionRefusedError):
        from_fleet.tcp(port=9)
    refused = counted.lab.sample().nodes[NAT].refused_packets
    with ThreadPoolExecutor() as patient:
        late = patient.submit(from_fleet.tcp, timeout_s=30)
        assert eventually(lambda: counted.lab.sample().nodes[NAT].refused_packets > refused)
        reset(opened.pop())
        late.result()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.2)
    from_fleet.udp()
    initial = [each.flow for each in counted.packets() if each.is_initial and _is(each, TCP, counted.inner, sent=False)]
    assert len(initial) > len(set(initial)) == NAT_LIMIT + 3
    assert counted.metric("ConnectionAttemptCount") == len(set(initial))
    assert counted.metric("ConnectionEstablishedCount") == NAT_LIMIT + 1


def test_connections_established(counted: Counted, from_fleet: Clients) -> None:
    """As many as the server's kernel has accepted, on the declared port and on another; attempts are more."""
    before = handshakes(counted.lab)
    with Namespaces() as namespaces:
        elsewhere = namespaces[counted.lab.node("cache").namespace].run(socket.create_server, ("203.0.113.10", 9000))
    with elsewhere:
        for port in (443, 443, 9000):
            from_fleet.tcp(port=port)
        with pytest.raises(ConnectionRefusedError):
            from_fleet.tcp(port=9)
        counted.packets()
        assert counted.metric("ConnectionEstablishedCount") == handshakes(counted.lab) - before == 3
        assert counted.metric("ConnectionAttemptCount") == 4


def test_idle_timeouts(eni: Counted, clients: MakeClients) -> None:
    """As many as conntrack had established and has no more, without FIN or RST; what is closed is not among them."""
    eni.begin()
    from_fleet = clients(eni.lab)
    for _ in range(3):
        from_fleet.tcp()
    reset(from_fleet.tcp())
    eni.packets()
    assert listed(eni.lab, NAT, "ESTABLISHED") == 3
    assert eni.metric("IdleTimeoutCount", NAT) == 0
    assert eventually(lambda: listed(eni.lab, NAT, "ESTABLISHED") == 0)
    ended = [each for each in eni.packets() if each.flags & 0x05]  # FIN or RST
    assert len(ended) == 2  # the one RST, on its way in and on its way out
    assert eni.metric("IdleTimeoutCount", NAT) == 3
    assert eni.metric("ActiveConnectionCount", NAT) == 3


# ── What is refused and dropped ─────────────────────────────────────────────────────────────────────────────


def test_errors_of_port_allocation(counted: Counted, from_fleet: Clients) -> None:
    """Every SYN and every datagram that came in for a new connection and did not go out, to the packet."""
    for _ in range(NAT_LIMIT):
        from_fleet.tcp()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            from_fleet.tcp(timeout_s=0.2)
        from_fleet.open[-1].close()  # before its SYN is sent again, after 1 s
    for _ in range(NAT_LIMIT - slots(counted.lab, NAT, protocol="udp")):
        from_fleet.udp()
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.2)
    lost = [
        counted.seen(protocol, interface=counted.inner, sent=False)
        - counted.seen(protocol, interface=counted.outer, sent=True)
        for protocol in (TCP, UDP)
    ]
    assert lost == [2, 1]
    assert counted.metric("ErrorPortAllocation") == counted.metric("PacketsDropCount") == 3


def test_the_kernel_finds_no_port(counted: Counted, from_fleet: Clients) -> None:
    """A SYN that has a slot, and for which the kernel's search for a free port finds none, is an error and a drop."""
    before = inside(counted.lab, NAT, "nft -s list chain ip nat_gateway translate")
    narrow = f"nft add rule ip nat_gateway translate meta l4proto tcp snat to {EIP}:2000-2001"
    inside(counted.lab, NAT, f"nft flush chain ip nat_gateway translate; {narrow}")
    try:
        for _ in range(2):
            from_fleet.tcp()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                from_fleet.tcp(timeout_s=0.2)
            from_fleet.open[-1].close()
    finally:
        inside(counted.lab, NAT, f"nft flush chain ip nat_gateway translate; nft -f - <<'END'\n{before}\nEND")
    came, went = (
        len([each for each in counted.packets() if each.is_initial and _is(each, TCP, interface, sent=sent)])
        for interface, sent in ((counted.inner, False), (counted.outer, True))
    )
    assert came - went == 3
    assert counted.metric("ErrorPortAllocation") == counted.metric("PacketsDropCount") == 3


def test_packets_dropped(counted: Counted, from_fleet: Clients) -> None:
    """What came in and neither went out nor was answered: without a port, not asked for, or of what is forgotten."""
    lab = counted.lab
    with Namespaces() as namespaces:
        server = namespaces[lab.node("cache").namespace]
        with server.run(socket.create_server, ("203.0.113.10", 9000)) as listening:
            client = from_fleet.tcp(port=9000)
            accepted, _ = listening.accept()
        inside(lab, NAT, f"conntrack -D -p tcp --orig-port-src {client.getsockname()[1]} 2>/dev/null")
        accepted.send(b"are you there?")
        reset(accepted)
        with server.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"hello?", (EIP, 5000))
        with server.run(socket.socket) as unasked:
            unasked.settimeout(0.2)
            with pytest.raises(TimeoutError):
                unasked.connect((EIP, 6000))
        with server.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echoes:
            for number in (1, 2):
                echoes.sendto(bytes(ICMP(type="echo-request", seq=number)), (EIP, 0))
    for _ in range(NAT_LIMIT):
        from_fleet.tcp()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.2)
    packets = counted.packets()
    dropped = len([each for each in packets if not each.sent]) - len([each for each in packets if each.sent])
    assert dropped == 2 + 1 + 1 + 2 + 1
    assert counted.metric("PacketsDropCount") == dropped
    assert counted.metric("ErrorPortAllocation") == 1


# ── What AWS does not report ────────────────────────────────────────────────────────────────────────────────


def test_an_enis_connections_and_headroom(eni: Counted, clients: MakeClients) -> None:
    """As many as conntrack lists in the ENI, TCP and UDP; what the limit has beyond them is free."""
    # Conntrack lists what was closed before for a second longer than it holds a slot.
    assert eventually(lambda: slots(eni.lab, ENI) == listed(eni.lab, ENI, "tcp") == 0)
    eni.begin()
    from_fleet = clients(eni.lab)
    opened = [from_fleet.tcp() for _ in range(3)]
    eni.look()
    assert listed(eni.lab, ENI, "tcp") == eni.metric("Connections") == 3
    reset(opened.pop())
    assert eventually(lambda: slots(eni.lab, ENI) == 2)
    eni.look()
    assert (eni.metric("Connections"), eni.metric("Headroom")) == (3, 1)
    for each in opened:
        reset(each)


def test_what_an_eni_refuses(eni: Counted, clients: MakeClients) -> None:
    """By tcpdump in the ENI: each SYN that did not go out is a packet refused, all of one client are a connection."""
    # Conntrack lists what was closed before for a second longer than it holds a slot.
    assert eventually(lambda: slots(eni.lab, ENI) == listed(eni.lab, ENI, "tcp") == 0)
    eni.begin()
    from_fleet = clients(eni.lab)
    opened = [from_fleet.tcp() for _ in range(4)]
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=1.5)  # two SYNs
    from_fleet.open[-1].close()  # before the third, after 3 s
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.2)
    at_inner = [each.flow for each in eni.packets() if each.interface == eni.inner and _begins(each) and not each.sent]
    at_outer = [each for each in eni.packets() if each.interface == eni.outer and _begins(each) and each.sent]
    assert eni.metric("PacketsRefused") == len(at_inner) - len(at_outer) == 3
    assert eni.metric("ConnectionsRefused") == len(set(at_inner)) - len(at_outer) == 2
    assert eni.metric("Headroom") == 0
    for each in opened:
        reset(each)


def _begins(packet: Packet) -> bool:
    return packet.is_initial or packet.protocol == UDP


# ── A whole lab ─────────────────────────────────────────────────────────────────────────────────────────────


def ways(counted: Counted) -> tuple[tuple[str, str, bool], ...]:
    """The four ways through a NAT gateway: name, interface, and whether it sends there."""
    return (
        ("InFromSource", counted.inner, False),
        ("OutToDestination", counted.outer, True),
        ("InFromDestination", counted.outer, False),
        ("OutToSource", counted.inner, True),
    )


def test_tiny_agrees_to_the_packet(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """A burst that a NAT gateway stops: every counter of it is tcpdump's count, and the clients' own."""
    lab = lab_up(topologies / "tiny.yaml")
    with Capture(lab.node(NAT).namespace, tmp_path / "natgw.pcap") as capture:
        counted = Counted(lab, NAT, capture)
        counted.begin()
        result = lab.burst(40, connect_timeout_s=1.2)
        packets = counted.packets()
    syns = [each for each in packets if each.is_initial]
    came = [each for each in syns if _is(each, TCP, counted.inner, sent=False)]
    went = [each for each in syns if _is(each, TCP, counted.outer, sent=True)]
    assert (len(came), len(went)) == (50, 30)
    assert counted.metric("ErrorPortAllocation") == counted.metric("PacketsDropCount") == 20
    assert counted.metric("ConnectionAttemptCount") == len({each.flow for each in came}) == result.tcp.attempted == 40
    assert counted.metric("ConnectionEstablishedCount") == result.tcp.established == 30
    for way, interface, sent in ways(counted):
        lengths = [each.length for each in packets if _is(each, None, interface, sent=sent)]
        assert (counted.metric(f"Packets{way}"), counted.metric(f"Bytes{way}")) == (len(lengths), sum(lengths))


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


def total(lab: Lab, name: str, period_s: int) -> float:
    """The sum of a NAT gateway's metric over all periods since `up`."""
    (found,) = (each for each in lab.metrics(period_s) if (each.node, each.metric.name) == (NAT, name))
    return sum(each.value for each in found.points)


def in_document(document: dict[str, Any], label: str) -> list[float]:
    """The values of one result."""
    (values,) = (each["Values"] for each in document["MetricDataResults"] if each["Label"] == label)
    return list(values)


def test_the_whole_life_of_a_lab(gateway: Counted) -> None:
    """What the collector has kept since `up`, folded to seconds or to minutes, is all that tcpdump has seen."""
    assert eventually(lambda: len(list(gateway.lab.samples())) > 2)
    gateway.begin()
    ended = run_lab("metrics", "--lab", gateway.lab.name, "--json", "--period", 1)
    assert (ended.status, ended.stderr) == (0, "")
    for way, interface, sent in ways(gateway):
        lengths = [each.length for each in gateway.all if _is(each, None, interface, sent=sent)]
        wanted = {f"Packets{way}": len(lengths), f"Bytes{way}": sum(lengths)}
        assert {name: sum(in_document(ended.json, f"natgw {name}")) for name in wanted} == wanted
        assert {name: total(gateway.lab, name, 60) for name in wanted} == wanted
    assert len(in_document(ended.json, "natgw PacketsDropCount")) >= 2
    assert in_document(ended.json, "eni-private Headroom (not reported by AWS)")[0] <= ENI_LIMIT


def test_a_collector_that_has_ended(gateway: Counted, clients: MakeClients) -> None:
    """It runs again, the command says since when numbers are missing, and nothing that was counted is lost."""
    before = total(gateway.lab, "ConnectionEstablishedCount", 1)
    for each in running(gateway.lab.plan.namespaces, COLLECTOR):
        os.kill(each.pid, signal.SIGKILL)
    assert eventually(lambda: not running(gateway.lab.plan.namespaces, COLLECTOR))
    clients(gateway.lab).tcp().close()
    ended = run_lab("metrics", "--lab", gateway.lab.name, "--json", "--period", 1)
    assert ended.status == 0
    assert "had ended, and runs again; the last change that it noted was at " in ended.stderr
    assert sum(in_document(ended.json, "natgw ConnectionEstablishedCount")) == before + 1
    assert eventually(lambda: len(running(gateway.lab.plan.namespaces, COLLECTOR)) == 1)


def test_for_people(gateway: Counted) -> None:
    """In a pipe: plain text, a column for each period, and the ENI below what AWS does not report."""
    assert eventually(lambda: len(gateway.lab.metrics(1)[0].points) > 10, within_s=60)  # as old as it need be
    ended = run_lab("metrics", "--lab", gateway.lab.name, "--period", 1, "--last", 20, TERM="xterm-256color")
    assert (ended.status, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    reported, _, hidden = ended.stdout.partition("\nnot reported by AWS\n")
    assert all(len(line.rstrip()) <= 120 and "…" not in line for line in ended.stdout.splitlines())
    for part, metric in ((reported, "ErrorPortAllocation"), (hidden, "Headroom")):
        lines = [line.split() for line in part.splitlines() if line.startswith(metric)]
        assert len(lines) >= 2  # more columns than one line has room for
        assert len([word for line in lines for word in line[2:]]) in range(5, 21)


def test_a_lab_that_has_no_samples(gateway: Counted) -> None:
    """Where nothing is kept the numbers of now are all there is."""
    directory = Path("/run/lab") / gateway.lab.name
    kept = list(directory.glob("samples.*.jsonl"))
    for path in kept:
        path.rename(path.with_suffix(".away"))
    try:
        found = gateway.lab.metrics()
    finally:
        for path in kept:
            path.with_suffix(".away").rename(path)
    assert {len(each.points) for each in found} == {1}


def test_a_scrape(eni: Counted) -> None:
    """Prometheus finds on the loopback address what the kernel has counted; Ctrl-C ends it with 130."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run_lab("metrics", "--lab", eni.lab.name, "--prometheus", port)
        assert refused.status == 4
        assert refused.stderr == (
            f"--prometheus {port}: 127.0.0.1:{port} cannot be listened on: Address already in use; give another port\n"
        )
    serving = start_lab("metrics", "--lab", eni.lab.name, "--prometheus", port)
    assert serving.stdout is not None
    assert (
        serving.stdout.readline()
        == f"http://127.0.0.1:{port}/metrics has lab {eni.lab.name}'s counters; Ctrl-C ends it\n"
    )
    text = scrape(port)
    packets = eni.lab.sample().nodes[ENI].refused_packets
    assert f'lab_hyperplane_eni_refused_packets_total{{lab="{eni.lab.name}",node="eni-private"}} {packets}.0\n' in text
    os.killpg(serving.pid, signal.SIGINT)
    assert serving.wait(30) == 130
    with pytest.raises(URLError):
        scrape(port)
    assert serving.communicate()[1] == "interrupted; scrapes are not answered any more\n"


def scrape(port: int) -> str:
    """What the endpoint answers."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def test_a_lab_that_is_taken_down_while_it_is_scraped(eni: Counted) -> None:
    """The endpoint ends with a sentence; nobody is left to answer for a lab that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serving = start_lab("metrics", "--lab", eni.lab.name, "--prometheus", port)
    assert serving.stdout is not None
    serving.stdout.readline()
    eni.lab.down()
    assert serving.wait(30) == 4
    assert serving.communicate()[1] == f"lab {eni.lab.name} has been taken down; scrapes are not answered any more\n"
