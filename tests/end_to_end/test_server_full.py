"""A server that keeps so many connections only: the kernel counts them for every kind of client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.support.labs import Clients, eventually, inside, slots

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine

WhenFull = Literal["close", "reset", "ignore"]
REFUSED = {"close": (60, 0, 0), "reset": (0, 60, 0), "ignore": (0, 0, 60)}
"""Answer → of 60 connections that are too many: closed by the server, refused, timed out."""


@pytest.fixture
def full_server(lab_up: LabUp, topologies: Path, tmp_path: Path) -> Callable[..., Lab]:
    """A lab whose server keeps so many connections, and answers others so."""

    def up(when_full: WhenFull, limit: int = 40) -> Lab:
        text = (topologies / "server_full.yaml").read_text()
        changed = text.replace("when_full: close\n", f"when_full: {when_full}\n")
        path = tmp_path / "full.yaml"
        path.write_text(changed.replace("max_connections: 40", f"max_connections: {limit}"))
        return lab_up(path)

    return up


@pytest.mark.parametrize("when_full", REFUSED)
def test_forty_of_a_hundred(full_server: Callable[..., Lab], *, when_full: WhenFull) -> None:
    """Frames and real sockets alike: 40 are kept, 60 get the answer that the topology says, the network has room."""
    lab = full_server(when_full)
    engines: tuple[Engine, ...] = ("packet", "socket")
    for engine in engines:
        result = lab.burst(100, engine=engine, connect_timeout_s=1)
        assert (result.tcp.closed_by_server, result.tcp.refused, result.tcp.timed_out) == REFUSED[when_full]
        assert (result.invocations.served, result.invocations.failed) == (40, 60)
        assert (result.tcp.established, result.drop_threshold, result.bottleneck) == (40, 40, "server")
        assert (result.predicted.established, result.predicted.drop_threshold, result.predicted.bottleneck) == (
            40,
            40,
            "server",
        )
        (server,) = (limit for limit in result.limits if limit.kind == "server")
        assert (server.peak, server.dropped_connections, server.dropped_packets) == (40, 60, 60)
        assert not any(limit.dropped_packets for limit in result.limits if limit.kind != "server")
        assert result.disagreements == ()
    why = lab.why()
    assert (why.headline, why.threshold.held) == ("Server full: orders-db keeps 40 connections", 40)
    assert [account.limit.first.node for account in why.refusing] == ["srv-orders-db"]


def test_every_packet_of_who_is_turned_away(full_server: Callable[..., Lab]) -> None:
    """The scapy engine sees the second of two connections accepted at the server's other address, and closed there."""
    result = full_server("close", limit=1).burst(2, engine="scapy", connect_timeout_s=3)
    assert (result.tcp.established, result.tcp.closed_by_server, result.disagreements) == (1, 1, ())
    second = [each for each in result.packets if each.connection == 2]
    at_front = [each.meaning for each in second if each.node == "front-orders-db" and each.flags == "SYN"]
    assert at_front == ["enters the server front", "translated to 192.0.2.3:3306 by the server front"]
    sent = [each.meaning for each in second if each.node == "srv-orders-db" and each.direction == "out"]
    assert sent == ["accepted", "the server says goodbye first", "acknowledged"]


def test_a_place_is_free_again(full_server: Callable[..., Lab], clients: Callable[[Lab], Clients]) -> None:
    """While a real client has the only place, another is accepted and closed; afterwards it gets a page."""
    lab = full_server("close", limit=1)
    mine = clients(lab)
    first, second = mine.tcp(port=3306), mine.tcp(port=3306)
    second.send(b"GET / HTTP/1.1\r\n\r\n")
    assert second.recv(100) == b""
    first.close()
    assert eventually(lambda: slots(lab, "srv-orders-db") == 0)
    page = inside(lab, "checkout", "curl -sS --max-time 10 http://orders-db.example.com:3306/")
    assert "server: orders-db" in page
