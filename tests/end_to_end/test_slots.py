"""What takes a connection slot, what keeps it, what gives it back: with real sockets, on small limits."""

from __future__ import annotations

from collections.abc import Callable
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.kernel.netns import Namespaces
from tests.support.labs import Clients, eventually, inside, slots

if TYPE_CHECKING:
    from pathlib import Path

    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

Small = Callable[..., "Lab"]
MakeClients = Callable[["Lab"], Clients]

SHARED = """
version: 1
name: shared
hyperplane_eni: {connection_limit: 500}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {name: public, cidr: 10.0.0.0/24}
    - {name: private, cidr: 10.0.1.0/24, default_route: natgw}
  nat_gateways:
    - {name: natgw, subnet: public, elastic_ips: 2}
functions:
  - {name: checkout, subnets: [private]}
  - {name: search, subnets: [private]}
servers:
  - {name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}
"""

LISTENER = """
import socket
server, kept = socket.create_server(("", 9000)), []
print("up", flush=True)
while True:
    kept.append(server.accept())
"""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


def test_an_eni_counts_all_destinations_and_protocols_together(small: Small, clients: MakeClients) -> None:
    """Connections to two servers, TCP and UDP, share the one limit of the Hyperplane ENI."""
    lab = small(eni=4, nat=20)
    from_fleet = clients(lab)
    from_fleet.tcp()
    from_fleet.tcp("203.0.113.20", 8080)
    from_fleet.udp()
    from_fleet.udp("203.0.113.20", 8080)
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.5)
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.5)
    assert slots(lab, "eni-private") == 4


def test_a_nat_gateway_counts_each_destination_and_protocol_by_itself(small: Small, clients: MakeClients) -> None:
    """A destination that is full leaves the others, and the other protocol to the same one, as they were."""
    lab = small(eni=20, nat=2)
    from_fleet = clients(lab)
    for _ in range(2):
        from_fleet.tcp()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.5)
    for _ in range(2):
        from_fleet.tcp("203.0.113.20", 8080)
        from_fleet.udp()
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.5)
    assert slots(lab, "natgw", "cache", "tcp") == 2
    assert slots(lab, "natgw", "store", "tcp") == 2
    assert slots(lab, "natgw", "cache", "udp") == 2


def test_a_fin_from_both_sides_frees_the_slot(small: Small, clients: MakeClients) -> None:
    """A connection that both sides have closed holds no slot, in the ENI as in the NAT gateway."""
    lab = small()
    client = clients(lab).tcp()
    assert slots(lab, "eni-private") == slots(lab, "natgw") == 1
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    while client.recv(1000):
        pass
    client.close()
    assert eventually(lambda: slots(lab, "eni-private") == slots(lab, "natgw") == 0)


def test_a_fin_that_is_sent_again_frees_the_slot(small: Small, clients: MakeClients) -> None:
    """Conntrack takes a FIN that nobody answers, when it comes again, for the end; so does the slot."""
    lab = small()
    client = clients(lab).tcp()
    lab.impair("cache", silence=True)
    client.close()
    assert eventually(lambda: slots(lab, "eni-private") == slots(lab, "natgw") == 0)
    assert eventually(lambda: not inside(lab, "eni-private", "conntrack -L 2>/dev/null"))


def test_a_half_closed_connection_keeps_its_slot(small: Small, clients: MakeClients) -> None:
    """One FIN is not the end: the connection holds its slot until the other side closes too."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 60s")
    # The server waits for a request that never comes, so its side stays open.
    client = clients(lab).tcp()
    inside(lab, "cache", "nft add table ip mute")
    inside(
        lab,
        "cache",
        "nft 'add chain ip mute out { type filter hook output priority 0; }'; "
        "nft 'add rule ip mute out tcp flags & fin == fin drop'",
    )
    client.shutdown(socket.SHUT_WR)
    assert eventually(lambda: "_WAIT" in inside(lab, "natgw", "conntrack -L 2>/dev/null"))
    assert slots(lab, "eni-private") == slots(lab, "natgw") == 1


def test_a_reset_frees_the_slot(small: Small, clients: MakeClients) -> None:
    """An RST ends the connection at once, and with it the slot."""
    lab = small()
    client = clients(lab).tcp()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()
    assert eventually(lambda: slots(lab, "eni-private") == slots(lab, "natgw") == 0)


def test_a_refused_connection_is_no_drop(small: Small, clients: MakeClients) -> None:
    """An RST for an answer (no listener on that port) frees the slot that the SYN took."""
    lab = small()
    with pytest.raises(ConnectionRefusedError):
        clients(lab).tcp(port=9)
    assert eventually(lambda: slots(lab, "eni-private") == 0)


def test_a_port_hold_keeps_the_slot_of_a_closed_connection(small: Small, clients: MakeClients) -> None:
    """With `port_hold`, a closed connection holds its slot for so long, and then no more."""
    lab = small(eni=1, timeouts="port_hold: 2s")
    from_fleet = clients(lab)
    first = from_fleet.tcp()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    first.close()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.5)
    from_fleet.open[-1].close()  # or its next SYN may take the slot
    assert eventually(lambda: slots(lab, "eni-private") == 0)
    from_fleet.tcp()


def test_an_idle_connection_loses_its_slot_and_its_conntrack_entry_together(small: Small, clients: MakeClients) -> None:
    """After `idle_timeout` without a packet both are gone; with packets both stay."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 2s, half_open_timeout: 2s")
    from_fleet = clients(lab)
    busy, _ = from_fleet.tcp(), from_fleet.tcp()
    assert slots(lab, "natgw") == 2

    def only_busy() -> bool:
        busy.send(b"HEAD / HTTP/1.1\r\n\r\n")
        return slots(lab, "eni-private") == slots(lab, "natgw") == 1

    assert eventually(only_busy)
    assert inside(lab, "natgw", "conntrack -L 2>/dev/null | grep -c ESTABLISHED").strip() == "1"


def test_a_retransmitted_syn_is_one_connection(small: Small) -> None:
    """SYNs that are admitted but never answered, and come again, hold one slot per connection, in both nodes."""
    lab = small(eni=50, nat=50)
    peaks = []
    lab.impair("cache", silence=True)
    result = lab.burst(10, connect_timeout_s=4, progress=lambda _: peaks.append(slots(lab, "natgw")))
    assert (result.tcp.timed_out, result.tcp.syn_retransmissions) == (10, 20)
    assert max(peaks) == 10
    assert [limit.peak for limit in result.limits] == [10, 10]
    assert result.bottleneck is None


def test_connections_spill_over_to_the_next_elastic_ip(small: Small) -> None:
    """With spill-over every Elastic IP is filled before a connection is dropped, whatever the policy picks first."""
    for policy in ("round_robin", "hash"):
        lab = small(eni=1000, nat=100, eips=3, more=f"eip_selection: {policy}")
        result = lab.burst(350, connect_timeout_s=2)
        assert result.tcp.established == result.drop_threshold == 300, policy
        assert [limit.peak for limit in result.limits if limit.eip] == [100, 100, 100]
        lab.down()


def test_without_spill_over_a_full_elastic_ip_drops(small: Small) -> None:
    """Without spill-over, the hash sends some connections to a full address while another has room."""
    lab = small(eni=1000, nat=100, eips=3, more="eip_selection: hash, spill_over: false")
    result = lab.burst(298, connect_timeout_s=2)
    assert result.tcp.established < 298
    assert result.predicted.established is None
    peaks = [limit.peak for limit in result.limits if limit.eip]
    assert max(peaks) == 100
    assert min(peaks) < 100
    assert result.disagreements == ()


def test_an_undeclared_destination_has_a_limit_of_its_own(small: Small, clients: MakeClients) -> None:
    """A port that the topology does not name falls back to a limit per Elastic IP and destination."""
    lab = small(eni=50, nat=3)
    listener = subprocess.Popen(
        ["ip", "netns", "exec", lab.node("cache").namespace, sys.executable, "-c", LISTENER], stdout=subprocess.PIPE
    )
    assert listener.stdout is not None
    listener.stdout.readline()
    from_fleet = clients(lab)
    try:
        for _ in range(3):
            from_fleet.tcp(port=9000)
        with pytest.raises(TimeoutError):
            from_fleet.tcp(port=9000, timeout_s=0.5)
        from_fleet.tcp()  # the declared port is another destination
        assert lab.burst(1).disagreements == ()  # those three have entries, and are no slots that were not freed
    finally:
        listener.kill()
        listener.communicate()


def test_nothing_connects_from_the_vpc_to_the_service_vpc(small: Small, clients: MakeClients) -> None:
    """The ENI translates in one direction only: a connection from the customer's side finds no way in."""
    lab = small()
    resolver = str(lab.plan.fleets[0].resolver_address)
    clients(lab).tcp(resolver, 53)
    inside(lab, "vpc", "ip route add 100.64.0.0/10 via 10.0.1.4 dev eni-private onlink")
    with Namespaces() as namespaces, namespaces[lab.node("vpc").namespace].run(socket.socket) as outside:
        outside.settimeout(1)
        with pytest.raises(TimeoutError):
            outside.connect((resolver, 53))


def test_functions_that_share_an_eni_share_its_limit(lab_up: LabUp, tmp_path: Path) -> None:
    """What one function holds is missing for another on the same subnet and security groups, to the connection."""
    path = tmp_path / "shared.yaml"
    path.write_text(SHARED)
    lab = lab_up(path)
    lab.burst(300, leave_open=True)
    result = lab.burst(250, function="search", connect_timeout_s=2)
    assert result.tcp.established == result.drop_threshold == result.predicted.established == 200
    assert result.bottleneck == "hyperplane_eni"
    assert result.disagreements == ()


def test_a_port_hold_counts_against_the_next_burst(small: Small) -> None:
    """Closed connections in their port hold leave the next burst no room, as the prediction says."""
    lab = small(nat=15, timeouts="port_hold: 60s")
    first, second = (lab.burst(15, connect_timeout_s=1) for _ in range(2))
    assert (first.tcp.established, second.tcp.established) == (15, 0)
    assert second.predicted.established == second.drop_threshold == 0
    assert second.disagreements == ()
