"""Which ephemeral ports of a client are in use: by its kernel's sockets, and by what limiters on the way hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
import time

from lab.burst.ports_of_host import InUse
from lab.burst.spec import Participants
from lab.kernel.netns import Namespaces, NamespaceThread
from lab.kernel.sockets import REUSED_AFTER_S, sockets
from lab.observe.limiters import held_sources
from lab.paths.path import Path
from lab.slots.limiter import Limiter

__all__ = ["ports_in_use"]

_ANY = IPv4Address(0)
_POLL_S = 0.05


def ports_in_use(namespaces: Namespaces, participants: Participants) -> list[InUse]:
    """Of each row of a client's ports (`FleetSpec.host`)."""
    (fleet,), real = participants.fleets, participants.load.engine == "socket"
    rows = []
    for number, own in enumerate(_sockets_of_host(namespaces[fleet.namespace], participants)):
        paths = participants.paths_of[0][number * len(fleet.paths) :]
        held = _ports_by_address(held_sources(namespaces, _limiters_of_ports(participants, paths[0], number)))
        sockets = _ports_by_address(own)
        for path in fleet.paths:
            address = path.sockets.first_address
            by_sockets = sockets[address] | sockets[_ANY]
            closed = held[address] - by_sockets if real else ()
            rows.append(InUse(held[path.first_address], by_sockets, closed))
    return rows


def _ports_by_address(sources: Iterable[tuple[IPv4Address, int]]) -> defaultdict[IPv4Address, set[int]]:
    ports = defaultdict[IPv4Address, set[int]](set)
    for address, port in sources:
        ports[address].add(port)
    return ports


def _limiters_of_ports(participants: Participants, path: Path, number: int) -> Iterator[Limiter]:
    """Those whose slots tell which ports a client has in use: to one destination, or over UDP to whichever."""
    if participants.load.protocol == "udp":
        nodes = participants.nodes
        yield from (each for each in participants.plan.limiters if each.place in nodes and each.protocol == "udp")
        return
    address = str(participants.server.addresses[number])
    for limiter in participants.limiters:
        if limiter.place in path.nodes and limiter.address in (None, address):
            yield limiter


def _sockets_of_host(inside: NamespaceThread, participants: Participants) -> list[list[tuple[IPv4Address, int]]]:
    """Local addresses and ports of the host's sockets to each destination; of UDP of all of them.

    Those in TIME_WAIT make room for new ones, for which real sockets wait.
    """
    load, server = participants.load, participants.server
    if load.protocol == "udp":
        return [[socket.local for socket in inside.run(lambda: list(sockets("udp")))]]
    servers = [(address, server.port) for address in server.addresses[: participants.destinations]]
    deadline_s = time.monotonic() + 2 * REUSED_AFTER_S
    while True:
        known = [socket for socket in inside.run(lambda: list(sockets())) if socket.remote in servers]
        waits = any(socket.state == "TIME_WAIT" and socket.age_s <= REUSED_AFTER_S for socket in known)
        if load.engine != "socket" or not waits or time.monotonic() > deadline_s:
            break
        time.sleep(_POLL_S)
    known = [socket for socket in known if socket.state != "TIME_WAIT"]
    return [[socket.local for socket in known if socket.remote == remote] for remote in servers]
