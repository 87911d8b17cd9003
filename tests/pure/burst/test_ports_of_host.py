"""Which ephemeral ports a burst of a client has: of its address to each destination, beside others."""

from __future__ import annotations

from typing import Any

from lab.burst.load import Load
from lab.burst.ports_of_host import InUse, ports_of_host, reserved_ports
from lab.burst.spec import Participants, participants_of
from lab.kernel.bursts import UnderWay
from lab.nodes.build import build
from tests.support.topologies import function, server, topology


def of(connections: int, **load: Any) -> Participants:
    """A burst of a client with ten ports to a server with two addresses."""
    made = topology(
        {"private": "natgw"},
        function("checkout", "private"),
        clients=[{"name": "bastion", "subnet": "private", "ephemeral_ports": "40000-40009"}],
        servers=(server(addresses=["203.0.113.10", "203.0.113.11"]),),
    )
    return participants_of(build(made, "t"), made, Load(connections, client="bastion", **load))


def rooms(participants: Participants, in_use: list[InUse], *others: UnderWay) -> list[int]:
    """How many ports are left to each destination."""
    return [ports.room for ports in ports_of_host(participants, in_use, others)]


def under_way(participants: Participants, *in_use: InUse) -> UnderWay:
    """Another burst, beside which one begins."""
    return UnderWay((), ports=reserved_ports(participants, ports_of_host(participants, list(in_use))))


def test_to_each_destination() -> None:
    """A port is in use for one destination over TCP, whichever engine has it, and over UDP for all."""
    used = InUse(by_frames={40_003}, by_sockets={40_004, 40_005, 39_999})
    assert rooms(of(40, engine="socket"), [used, InUse()]) == [7, 10]
    assert rooms(of(40, engine="packet"), [used, InUse()]) == [7, 10]
    assert rooms(of(40, protocol="udp"), [used]) == [7]


def test_frames_have_one_run() -> None:
    """Between ports that frames hold, the next burst of frames has the longest run; sockets have all that are left."""
    blocks = of(1).blocks
    held = InUse(by_frames={blocks.port(2), blocks.port(5)})
    assert rooms(of(40, engine="packet"), [held, InUse()]) == [6, 10]
    assert rooms(of(40, engine="socket"), [held, InUse()]) == [8, 10]


def test_side_by_side() -> None:
    """What a burst has that is under way is not there for another, which shares what is left with the next."""
    nothing = [InUse(), InUse()]
    for first in ("packet", "socket"):
        one = under_way(of(7, engine=first), *nothing)
        assert rooms(of(40, engine="packet"), nothing, one) == [6, 7]
    frames = under_way(of(7, engine="packet"), *nothing)
    assert rooms(of(40, engine="socket"), nothing, frames) == [6, 7]
    assert rooms(of(40, engine="socket"), nothing, under_way(of(7, engine="socket"), *nothing)) == [10, 10]
    ports = ports_of_host(of(4, engine="packet"), nothing, [frames])
    second = UnderWay((), ports=reserved_ports(of(4, engine="packet"), ports))
    assert rooms(of(40, engine="packet"), nothing, frames, second) == [4, 5]
