"""What a NAT node forgets, and when: idle, half-open and closed connections, each with the topology that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP

from lab.diagnosis.verdict import judge
from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from tests.support.command import run_lab
from tests.support.labs import Clients, eventually, slots

if TYPE_CHECKING:
    from pathlib import Path

    from lab.kernel.netns import NamespaceThread
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine

Shown = Callable[..., "Lab"]
Small = Callable[..., "Lab"]
MakeClients = Callable[["Lab"], Clients]

ETH_P_ALL = 3
IPV4 = 4
FIN, RST, ACK = 0x01, 0x04, 0x10
ENI, NAT = "eni-private-a", "natgw"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


@pytest.fixture
def shown(lab_up: LabUp, topologies: Path, tmp_path: Path) -> Shown:
    """A topology that ships, with other times than a person needs to look on."""

    def up(name: str, times: dict[str, str]) -> Lab:
        text = (topologies / f"{name}.yaml").read_text(encoding="utf-8")
        for old, new in times.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return lab_up(path)

    return up


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    """Ways into namespaces."""
    with Namespaces() as entered:
        yield entered


class Tap:
    """What passes in a namespace from now on."""

    def __init__(self, inside: NamespaceThread) -> None:
        self._socket = inside.run(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setblocking(False)  # noqa: FBT003 - positional only

    def packets(self) -> list[bytes]:
        """IPv4 packets since the last call, in order."""
        found: list[bytes] = []
        while True:
            try:
                packet = self._socket.recv(2048)
            except BlockingIOError:
                return found
            if packet[0] >> 4 == IPV4:
                found.append(packet)

    def flags(self) -> list[int]:
        """The TCP flags of those."""
        tcp = [packet for packet in self.packets() if packet[9] == socket.IPPROTO_TCP]
        return [packet[(packet[0] & 0xF) * 4 + 13] for packet in tcp]

    def close(self) -> None:
        """Stop."""
        self._socket.close()


@pytest.fixture
def tap(namespaces: Namespaces) -> Iterator[Callable[[Lab, str], Tap]]:
    """Listens in nodes."""
    made: list[Tap] = []

    def of(lab: Lab, node: str) -> Tap:
        made.append(Tap(namespaces[lab.node(node).namespace]))
        return made[-1]

    yield of
    for each in made:
        each.close()


def expiries_s(lab: Lab, node: str) -> list[float]:
    """How long each slot that is held in a node will be held without another packet, as the kernel has it."""
    limiters = [each for each in lab.plan.limiters if each.node == node]
    with Namespaces() as namespaces:
        inside = namespaces[limiters[0].namespace]
        sets = {(each.table, each.slots) for each in limiters}
        held = [inside.run(lambda of=of: list(nftables.elements(*of))) for of in sets]  # type: ignore[misc]
    return [element.expires_ms / 1000 for elements in held for element in elements]


def request(client: socket.socket) -> bytes:
    """One request over an open connection, and what comes back."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n")
    return client.recv(1000)


def idle_timeouts(lab: Lab) -> dict[str, int]:
    """NAT node → connections that it has forgotten after the idle timeout."""
    return {name: node.idle_timeouts for name, node in lab.sample().nodes.items()}


# ── Idle ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_nat_gateway_forgets_idle_connections(
    shown: Shown, clients: MakeClients, tap: Callable[[Lab, str], Tap]
) -> None:
    """IdleTimeoutCount rises by the connections that are idle, no FIN is sent, and who goes on gets an RST."""
    lab = shown("idle_timeout", {"idle_timeout: 5s": "idle_timeout: 2s"})
    lab.burst(40, connect_timeout_s=1)  # all closed in the end
    assert idle_timeouts(lab) == {ENI: 0, NAT: 0}
    lab.burst(150, connect_timeout_s=1, leave_open=True)
    client = clients(lab).tcp()
    assert request(client).startswith(b"HTTP/1.1 200")
    at_server, at_client = tap(lab, "cache"), tap(lab, "checkout")
    assert eventually(lambda: slots(lab, NAT) == 0)
    assert idle_timeouts(lab) == {ENI: 0, NAT: 151}
    assert slots(lab, ENI) == 151
    assert at_server.flags() == at_client.flags() == []
    with pytest.raises(ConnectionResetError):
        request(client)
    assert at_server.flags() == []
    assert [each & (FIN | RST) for each in at_client.flags()] == [0, RST]
    assert eventually(lambda: slots(lab, ENI) == 150)
    assert idle_timeouts(lab) == {ENI: 0, NAT: 151}
    assert run_lab("status", "--lab", lab.name, "--json").json["idle_timeouts"] == idle_timeouts(lab)
    nodes = lab.sample().nodes
    eni, nat = nodes[ENI], nodes[NAT]
    assert (eni.admitted, eni.established, eni.closed, eni.active, eni.resets_sent) == (191, 191, 41, 150, 0)
    assert (nat.admitted, nat.established, nat.closed, nat.active, nat.resets_sent) == (191, 191, 40, 0, 1)


def test_an_eni_forgets_idle_connections(
    shown: Shown, namespaces: Namespaces, clients: MakeClients, tap: Callable[[Lab, str], Tap]
) -> None:
    """With the shorter timeout on the ENI it is the ENI that forgets: RST to the client, silence to the server."""
    times = {"idle_timeout: 60s": "idle_timeout: 2s", "idle_timeout: 5s": "idle_timeout: 60s"}
    lab = shown("idle_timeout", times)
    listening = namespaces[lab.node("cache").namespace].run(socket.create_server, ("203.0.113.10", 9000))
    with listening:
        client = clients(lab).tcp(port=9000)
        server, _ = listening.accept()
        lab.burst(30, connect_timeout_s=1, leave_open=True)
        at_server = tap(lab, "cache")
        assert eventually(lambda: slots(lab, ENI) == 0)
        assert idle_timeouts(lab) == {ENI: 31, NAT: 0}
        with server:
            server.sendall(b"are you there?")
            assert not eventually(lambda: bool(server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)), within_s=0.5)
        with pytest.raises(ConnectionResetError):
            request(client)
    assert not any(each & RST for each in at_server.flags())
    assert idle_timeouts(lab) == {ENI: 31, NAT: 0}


def test_keep_alive(small: Small, clients: MakeClients) -> None:
    """TCP keep-alive more often than the idle timeout keeps a connection; one that comes later gets an RST."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 2s")
    from_fleet = clients(lab)
    often, seldom = from_fleet.tcp(), from_fleet.tcp()
    for client, every_s in ((often, 1), (seldom, 3)):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every_s)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every_s)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    seldom.settimeout(20)
    with pytest.raises(ConnectionResetError):
        seldom.recv(1)
    assert request(often).startswith(b"HTTP/1.1 200")
    # Both nodes have the same timeout; the ENI answers first, and nothing more reaches the NAT gateway.
    assert idle_timeouts(lab) == {"eni-private": 1, NAT: 1}
    nodes = lab.sample().nodes
    assert [nodes[name].resets_sent for name in ("eni-private", NAT)] == [1, 0]


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_a_client_that_takes_an_idle_connection_again(shown: Shown, engine: Engine) -> None:
    """A reused connection that the NAT gateway has forgotten is reset by it, whatever TCP the client has."""
    lab = shown("idle_timeout", {"idle_timeout: 5s": "idle_timeout: 1s"})
    result = lab.burst(2, engine=engine, rate_per_s=0.5, reuse=True, duration_s=0.1, hold_s=9)
    assert (result.tcp.attempted, result.tcp.reset) == (1, 1)
    assert [(node.node, node.reset, node.idle_timeouts) for node in result.endings.nodes] == [(NAT, 1, 1)]
    assert (result.endings.reset_by_server, result.disagreements, judge(result).cause) == (0, (), "idle_timeout")
    assert (result.requests.sent, result.requests.answered) == (2, 1)
    assert idle_timeouts(lab) == {ENI: 0, NAT: 1}


def test_what_is_closed_or_never_open_is_not_idle(small: Small, clients: MakeClients) -> None:
    """Neither connections closed by FIN or RST, nor refused ones, nor SYNs without an answer count as idle timeouts."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 1s, half_open_timeout: 1s")
    from_fleet = clients(lab)
    from_fleet.tcp().close()
    reset = from_fleet.tcp()
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    reset.close()
    with pytest.raises(ConnectionRefusedError):
        from_fleet.tcp(port=9)
    lab.impair("cache", silence=True)
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.5)
    from_fleet.open[-1].close()
    assert eventually(lambda: slots(lab, "eni-private") == slots(lab, NAT) == 0)
    nodes = lab.sample().nodes
    eni, nat = nodes["eni-private"], nodes[NAT]
    assert (eni.admitted, eni.established, eni.closed, eni.idle_timeouts) == (4, 2, 2, 0)
    assert (nat.admitted, nat.established, nat.closed, nat.idle_timeouts) == (4, 2, 2, 0)


# ── Half-open ───────────────────────────────────────────────────────────────────────────────────────────────


def test_syns_that_nobody_answers_fill_an_eni(shown: Shown) -> None:
    """After a silent server, an ENI full of half-open connections refuses all, and is free after their timeout."""
    lab = shown("half_open", {"half_open_timeout: 8s": "half_open_timeout: 20s"})
    lab.impair("cache", silence=True)
    silent = lab.burst(300, connect_timeout_s=0.9)
    assert (silent.tcp.timed_out, silent.bottleneck) == (300, None)
    lab.clear_impairments()
    refused = lab.burst(300, connect_timeout_s=0.9)
    assert (refused.tcp.timed_out, refused.bottleneck) == (300, "hyperplane_eni")
    assert refused.drop_threshold == refused.predicted.established == 0
    assert eventually(lambda: slots(lab, ENI) == 0)
    assert lab.burst(300, connect_timeout_s=0.9).tcp.established == 300


def test_a_half_open_connection_holds_its_slot_for_its_timeout(small: Small, clients: MakeClients) -> None:
    """A single SYN holds a slot of the ENI and of the NAT gateway for `half_open_timeout`, and no longer."""
    lab = small(timeouts="port_hold: 0s, half_open_timeout: 4s")
    lab.impair("cache", silence=True)
    from_fleet = clients(lab)
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.3)
    from_fleet.open[-1].close()  # before its SYN comes again
    for node in ("eni-private", NAT):
        (expires_s,) = expiries_s(lab, node)
        assert 0 < expires_s <= 4.0
    assert eventually(lambda: slots(lab, "eni-private") == slots(lab, NAT) == 0)
    assert time.monotonic() - began_s >= 4.0


# ── Closed ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_challenge_ack_leaves_a_half_open_connection_as_it_is(
    small: Small, clients: MakeClients, namespaces: Namespaces, tap: Callable[[Lab, str], Tap]
) -> None:
    """A SYN that is answered by a plain ACK, as by a port in TIME_WAIT, is half-open still: so is its slot."""
    lab = small(timeouts="port_hold: 0s, half_open_timeout: 4s")
    lab.impair("cache", silence=True)
    at_server, at_client = tap(lab, "cache"), tap(lab, "checkout")
    with pytest.raises(TimeoutError):
        clients(lab).tcp(timeout_s=0.3)
    syn = next(packet for packet in at_server.packets() if packet[9] == socket.IPPROTO_TCP)
    lab.impair("checkout", silence=True)  # it sends no RST, which may end the connection
    (port,) = struct.unpack("!H", syn[20:22])
    answer = TCP(sport=443, dport=port, flags="A")
    answer = IP(src=socket.inet_ntoa(syn[16:20]), dst=socket.inet_ntoa(syn[12:16])) / answer
    server = namespaces[lab.node("cache").namespace]
    raw = server.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.sendto(bytes(answer), (answer.dst, 0))
    assert eventually(lambda: ACK in at_client.flags())
    for node in ("eni-private", NAT):
        (expires_s,) = expiries_s(lab, node)
        assert 0 < expires_s <= 4.0


def test_a_port_hold_makes_the_next_burst_wait(shown: Shown) -> None:
    """A burst right after one that has closed finds its ports still held; after the hold they are free."""
    lab = shown("port_hold", {})  # 20 s, of which the first burst waits for 5 in vain
    first, second = (lab.burst(300, connect_timeout_s=0.9) for _ in range(2))
    assert (first.tcp.established, first.tcp.timed_out) == (300, 0)
    assert (second.tcp.established, second.tcp.timed_out, second.bottleneck) == (0, 300, "nat_gateway")
    assert second.disagreements == ()
    assert eventually(lambda: slots(lab, NAT) == 0)
    assert lab.burst(300, connect_timeout_s=0.9).tcp.established == 300
    assert idle_timeouts(lab) == {ENI: 0, NAT: 0}
