"""Real labs in tests: sockets in a fleet, commands in a node, slots as the kernel has them, waiting."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.burst.result import BurstResult, LimitResult
    from lab.kernel.netns import Namespaces
    from lab.lab import Lab
    from lab.slots.fill import Fill

__all__ = ["Clients", "eventually", "inside", "slots", "without_times"]


class Clients:
    """Real sockets in the first function's fleet, each from an execution environment of its own."""

    def __init__(self, lab: Lab, namespaces: Namespaces) -> None:
        self._fleet = lab.plan.fleets[0]
        self._inside = namespaces[self._fleet.namespace]
        self._made = 0
        self.open: list[socket.socket] = []

    def tcp(
        self, address: str = "203.0.113.10", port: int = 443, timeout_s: float = 10.0, turn: int | None = None
    ) -> socket.socket:
        """A connected socket; TimeoutError if nothing answers, and its SYN comes again until it is closed.

        With a `turn` (`PortBlocks`) it has a port of its own behind the first ENI, as a burst's connections have.
        """
        made = self._socket(socket.SOCK_STREAM, timeout_s, None if turn is None else self._place(turn))
        made.connect((address, port))
        return made

    def udp(self, address: str = "203.0.113.10", port: int = 443, timeout_s: float = 10.0) -> socket.socket:
        """A socket that has had an echo; TimeoutError if nothing answers."""
        made = self._socket(socket.SOCK_DGRAM, timeout_s)
        made.connect((address, port))
        made.send(b"hello")
        assert made.recv(100) == b"hello"
        return made

    def _socket(self, kind: socket.SocketKind, timeout_s: float, place: tuple[str, int] | None = None) -> socket.socket:
        made = self._inside.run(socket.socket, socket.AF_INET, kind)
        self.open.append(made)
        made.settimeout(timeout_s)
        made.bind(place or (str(self._environment()), 0))
        return made

    def _place(self, turn: int) -> tuple[str, int]:
        blocks, sockets = self._fleet.blocks, self._fleet.paths[0].sockets
        return str(sockets.first_address + turn // blocks.per_environment), int(blocks.port(turn))

    def _environment(self) -> IPv4Address:
        path = self._fleet.paths[self._made % len(self._fleet.paths)]
        self._made += 1
        # The block of addresses that is local to the fleet's kernel follows the one of the rings.
        return path.first_address + path.environments + self._made


def slots(lab: Lab, node: str, destination: str | None = None, protocol: str | None = None) -> int:
    """Connections that hold a slot of a node now."""
    return sum(
        each.in_use
        for each in lab.readings()
        if each.limiter.node == node
        and destination in (None, each.limiter.destination)
        and protocol in (None, each.limiter.protocol)
    )


def eventually(claim: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Whether the claim comes true in time."""
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def inside(lab: Lab, node: str, command: str) -> str:
    """What a shell command prints in a node; CalledProcessError if it fails."""
    return subprocess.run(
        ["ip", "netns", "exec", lab.node(node).namespace, "sh", "-c", command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _without_times(limit: LimitResult) -> LimitResult:
    """Without when it refused first, and how old half-open connections are."""
    return replace(limit, first_refusal_s=None, fill=_ageless(limit.fill), before=_ageless(limit.before))


def _ageless(fill: Fill | None) -> Fill | None:
    return fill and replace(fill, half_open=tuple(replace(each, oldest_s=0, free_s=0) for each in fill.half_open))


def without_times(result: BurstResult) -> dict[str, Any]:
    """Everything in a result that does not depend on time."""
    assert result.disagreements == ()
    return {
        "dns": result.dns,
        "tcp": result.tcp,
        "requests": result.requests,
        "threshold": result.drop_threshold,
        "limits": tuple(map(_without_times, result.limits)),
        "bottleneck": result.bottleneck,
    }
