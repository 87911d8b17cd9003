"""The ephemeral ports of a client that is no function: which are in use, and which a burst has. Pure.

A kernel uses a port of an address once for each destination, and over UDP once. Connections of frames and those of real
sockets have addresses of their own that stand for one, so they share its ports by number: what the one has, the other
has not. The kernel knows of its sockets alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lab.burst.ports import after_longest_gap
from lab.burst.spec import Participants
from lab.kernel.bursts import HostReserved, UnderWay
from traffic.spec import HostPorts, PortBlocks

__all__ = ["InUse", "destinations_of", "ports_of_host", "reserved_ports"]


@dataclass(frozen=True, slots=True)
class InUse:
    """Ports of one address that connections to one destination have already."""

    by_frames: Collection[int] = ()
    by_sockets: Collection[int] = ()
    of_closed: Collection[int] = ()
    """Of sockets that are closed, in none of the others: a limiter on the way holds their slots still. The kernel may
    use these ports again, and the connection is then the same one to the limiter, which has its slot already."""


def destinations_of(participants: Participants) -> tuple[str, ...]:
    """What each row of ports is for (`FleetSpec.host`), by a name that all bursts of the lab have for it."""
    if participants.load.protocol == "udp":
        return ("udp",)
    return tuple(f"{participants.server.name} {number}" for number in range(participants.destinations))


def ports_of_host(
    participants: Participants, in_use: Sequence[InUse], others: Iterable[UnderWay] = ()
) -> tuple[HostPorts, ...]:
    """What each address has left to each destination, beside those that bursts have which are under way.

    Frames have the longest run of free turns, as far as the number of ports goes that are left.
    """
    blocks, by_kernel = participants.blocks, participants.load.engine == "socket"
    reserved = [each for other in others for each in other.ports]
    host = []
    for row, used in zip(_rows(participants), in_use, strict=True):
        beside = [each for each in reserved if (each.address, each.destination) == row]
        turns = {blocks.turn(port, 0) for port in _own(used.by_frames, blocks)}
        for each in beside:
            if not each.by_kernel:
                turns |= {turn % blocks.ports for turn in range(each.first_turn, each.first_turn + each.turns)}
        room = blocks.ports - len(turns) - len(set(_own(used.by_sockets, blocks)))
        first = after_longest_gap(blocks.ports, sorted(turns))
        if not by_kernel:
            until = min(((turn - first) % blocks.ports for turn in turns), default=blocks.ports)
            room = min(room, until, *(each.left for each in beside if each.by_kernel))
        host.append(HostPorts(first, max(room, 0), unseen=len(turns)))
    return tuple(host)


def reserved_ports(participants: Participants, host: Sequence[HostPorts]) -> tuple[HostReserved, ...]:
    """What a burst has of them to itself."""
    reserved = []
    for number, (row, ports) in enumerate(zip(_rows(participants), host, strict=True)):
        wanted = -(-max(participants.connections - number, 0) // len(host))
        turns = min(wanted, ports.room)
        by_kernel = participants.load.engine == "socket"
        reserved.append(HostReserved(*row, by_kernel, ports.first_turn, turns, ports.room - turns))
    return tuple(reserved)


def _rows(participants: Participants) -> list[tuple[str, str]]:
    """The address, and the destination, of each row of ports."""
    addresses = [str(path.first_address) for path in participants.fleets[0].paths]
    return [(address, destination) for destination in destinations_of(participants) for address in addresses]


def _own(ports: Iterable[int], blocks: PortBlocks) -> Iterable[int]:
    return (port for port in ports if blocks.first_port <= port < blocks.first_port + blocks.ports)
