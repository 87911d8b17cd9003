"""The scapy engine in real labs: the same result as the packet engine's, and every packet where it comes by."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import UsageError
from lab.kernel.processes import processes_in
from lab.lab import Lab
from tests.support.command import run_lab, start_lab
from tests.support.labs import eventually, slots
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from traffic.packet_record import PacketRecord

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"


@pytest.fixture(scope="module")
def tiny() -> Iterator[Lab]:
    """The topology `tiny`, whose NAT gateway drops number 31."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-sc") as lab:
        yield lab


@pytest.fixture(scope="module")
def narrow() -> Iterator[Lab]:
    """The same with room for one connection in each ENI, so that the first of them drops number 3."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-sn", scale=20) as lab:
        yield lab


def rows(packets: tuple[PacketRecord, ...], connection: int) -> list[tuple[str, str, str, str]]:
    """Node, direction, flags and meaning, of one connection."""
    return [(each.node, each.direction, each.flags, each.meaning) for each in packets if each.connection == connection]


def counts(lab: Lab, engine: Any, **options: Any) -> dict[str, object]:
    """What a burst comes to, apart from its times."""
    result = lab.burst(33, engine=engine, connect_timeout_s=1.2, **options)
    assert result.disagreements == ()
    return {
        "dns": result.dns,
        "tcp": result.tcp,
        "requests": result.requests,
        "threshold": (result.drop_threshold, result.bottleneck),
        "dropped": sum(each.dropped_packets for each in result.limits),
    }


def test_the_result_is_that_of_the_packet_engine(tiny: Lab) -> None:
    """Thirty of 33 invocations, one request each, then three that are dropped: the same counts and threshold."""
    packet, scapy = (counts(tiny, engine, requests_per_connection=1) for engine in ("packet", "scapy"))
    assert scapy == packet
    assert scapy["threshold"] == (30, "nat_gateway")


def test_a_conversation_from_end_to_end(tiny: Lab) -> None:
    """One connection, place by place: DNS beside the ENI, then through both NATs and back."""
    packets = tiny.burst(1, engine="scapy").packets
    client = packets[0].source
    nat = next(each.source for each in packets if each.node == "natgw" and each.direction == "out")
    eni = f"10.0.1.4:{client.split(':')[1]}"
    assert rows(packets, 1)[:18] == [
        ("fn-checkout", "out", "DNS", "asks the resolver for cache.example.com"),
        ("resolver", "in", "DNS", "arrives at the resolver"),
        ("resolver", "out", "DNS", "the resolver answers 203.0.113.10: DNS works"),
        ("fn-checkout", "in", "DNS", "arrives at the function"),
        ("fn-checkout", "out", "SYN", "connection request"),
        ("eni-private-a", "in", "SYN", "enters the Hyperplane ENI"),
        ("eni-private-a", "out", "SYN", f"translated to {eni} by the Hyperplane ENI"),
        ("natgw", "in", "SYN", "enters the NAT gateway"),
        ("natgw", "out", "SYN", f"translated to {nat} by the NAT gateway"),
        ("srv-cache", "in", "SYN", "arrives at the server"),
        ("srv-cache", "out", "SYN-ACK", "accepted"),
        ("natgw", "in", "SYN-ACK", "enters the NAT gateway"),
        ("natgw", "out", "SYN-ACK", f"translated back to {eni} by the NAT gateway"),
        ("eni-private-a", "in", "SYN-ACK", "enters the Hyperplane ENI"),
        ("eni-private-a", "out", "SYN-ACK", f"translated back to {client} by the Hyperplane ENI"),
        ("fn-checkout", "in", "SYN-ACK", "arrives at the function"),
        ("fn-checkout", "out", "ACK", "handshake complete: established"),
        ("eni-private-a", "in", "ACK", "enters the Hyperplane ENI"),
    ]
    assert rows(packets, 1)[-1] == ("srv-cache", "in", "ACK", "arrives at the server")
    assert nat.startswith("198.51.100.")
    times = [each.t_s for each in packets]
    assert times == sorted(times)


def test_a_connection_that_an_eni_drops(narrow: Lab) -> None:
    """Each of its SYNs enters the ENI and is seen nowhere else; the last line says so."""
    result = narrow.burst(3, engine="scapy", connect_timeout_s=1.5)
    assert (result.drop_threshold, result.bottleneck, result.disagreements) == (2, "hyperplane_eni", ())
    lost = "last seen entering eni-private-a; it never left: dropped there"
    assert rows(result.packets, 3)[4:] == [
        ("fn-checkout", "out", "SYN", "connection request"),
        ("eni-private-a", "in", "SYN", "enters the Hyperplane ENI"),
        ("fn-checkout", "out", "SYN", "connection request again, 1 s later: no answer came"),
        ("eni-private-a", "in", "SYN", "enters the Hyperplane ENI"),
        ("eni-private-a", "lost", "SYN", lost),
    ]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            {"close": "half-close", "requests_per_connection": 1},
            [
                ("PSH-ACK", "request"),
                ("PSH-ACK", "response"),
                ("ACK", "acknowledged"),
                ("FIN-PSH-ACK", "last request and goodbye in one: half-closed"),
                ("PSH-ACK", "response"),
                ("FIN-ACK", "goodbye as well"),
                ("ACK", "acknowledged"),
                ("ACK", "both have said goodbye: closed"),
            ],
        ),
        ({"close": "reset"}, [("RST-ACK", "reset: ends the connection without a goodbye")]),
        ({"protocol": "udp", "requests_per_connection": 1}, [("UDP", "request"), ("UDP", "response")]),
    ],
)
def test_requests_and_goodbyes(tiny: Lab, options: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    """What follows the handshake: requests, a half-close, a reset, datagrams."""
    packets = tiny.burst(1, engine="scapy", **options).packets
    begun = [
        (each.flags, each.meaning)
        for each in packets
        if each.node in ("fn-checkout", "srv-cache") and each.direction == "out"
    ]
    assert begun[-len(wanted) :] == wanted


def test_the_table(narrow: Lab) -> None:
    """In a pipe a line for each packet, whole and without escape codes, then the usual result; 101 are too many."""
    shown = run_lab("burst", "--lab", narrow.name, "-n", 3, "--engine", "scapy", "--connect-timeout", 1)
    assert (shown.status, shown.stderr) == (0, "")
    table, _, result = shown.stdout.partition("\n\n")
    assert table.splitlines()[0].split() == ["#", "seconds", "where", "flags", "what", "it", "means"]
    (lost,) = (line for line in table.splitlines() if " lost " in line)
    assert lost.split()[0] == "3"
    assert lost.endswith("last seen entering eni-private-a; it never left: dropped there")
    assert "\x1b" not in shown.stdout
    assert result.startswith("3 invocations")
    refused = run_lab("burst", "--lab", narrow.name, "-n", 101, "--engine", "scapy")
    assert refused.status == 2
    assert "100" in refused.stderr
    with pytest.raises(UsageError):
        narrow.burst(101, engine="scapy")


def test_documents(tiny: Lab) -> None:
    """`--json -` prints nothing but the document, which has the packets; those of other engines have none."""
    scapy, packet = (
        run_lab("burst", "--lab", tiny.name, "-n", 1, "--engine", engine, "--json", "-").json
        for engine in ("scapy", "packet")
    )
    first = scapy["packets"][0]
    assert (first["node"], first["flags"], first["connection"]) == ("fn-checkout", "DNS", 1)
    assert "packets" not in packet


def test_interrupted(narrow: Lab) -> None:
    """Ctrl-C ends it within moments, and what was open is reset."""
    process = start_lab("burst", "--lab", narrow.name, "-n", 3, "--engine", "scapy")
    try:
        assert eventually(lambda: slots(narrow, "eni-private-a") == 1)
        process.send_signal(2)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "interrupted" in said) == (130, True)
    assert eventually(lambda: slots(narrow, "eni-private-a") == 0)
    assert not [each for each in processes_in(narrow.plan.namespaces) if "burst" in each.command]
