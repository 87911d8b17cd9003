"""Connection numbers to source addresses and ports, and back, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.spec import BurstSpec, FleetSpec, PortBlocks

__all__ = ["Endpoints", "Fleet"]

_LAST_PORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Paths, source addresses and source ports of a batch of connections; `path` is a place in `BurstSpec.sources`."""

    path: NDArray[np.int64]
    address: NDArray[np.int64]
    port: NDArray[np.int64]


class Fleet:
    """The execution environments of one burst, of all its functions; see `BurstSpec` for the numbering.

    Connections are named by their index in the burst: those of fleet `f` are `f`, `f + len(fleets)` …
    """

    def __init__(self, spec: BurstSpec) -> None:
        _check(spec)
        self._connections, self._blocks = spec.connections, spec.blocks
        # Of each fleet: how many paths it has, which is its first one, and its first connection's number.
        counts = [len(fleet.paths) for fleet in spec.fleets]
        self._fleets = len(counts)
        self._paths = np.array(counts, np.int64)
        self._first_path = np.cumsum([0, *counts[:-1]])
        self._first_number = np.array([fleet.first_connection for fleet in spec.fleets], np.int64)
        # Of each path.
        self._fleet_of = np.repeat(np.arange(self._fleets), counts)
        # Of each path of a host that is no function, which is alone then.
        host = spec.fleets[0].host
        self._host = host is not None
        self.first_port = spec.blocks.first_port
        self.destinations = len(host) // counts[0] if host else 1
        """How many rows of ports a host has, of which its connections take turns (`FleetSpec.host`)."""
        self._first_turns = np.array([ports.first_turn for ports in host or ()], np.int64)
        self._rooms = np.array([ports.room for ports in host or ()], np.int64)
        self._unseen = np.array([ports.unseen for ports in host or ()], np.int64)
        self._first_address = np.array([int(path.first_address) for path in spec.sources], np.int64)
        self._environments = np.array([path.environments for path in spec.sources], np.int64)
        self._by_address = np.argsort(self._first_address)
        self._starts = self._first_address[self._by_address]

    def endpoints(self, indices: NDArray[np.int64]) -> Endpoints:
        """Path, source address and source port of each connection."""
        number, fleet = np.divmod(indices, self._fleets)
        turn, place = np.divmod(number + self._first_number[fleet], self._paths[fleet])
        path = self._first_path[fleet] + place
        if self._host:
            row, nth = self._row(indices)
            return Endpoints(path, self._first_address[path], self._blocks.port(self._first_turns[row] + nth))
        environment = turn // self._blocks.per_environment
        return Endpoints(path, self._first_address[path] + environment, self._blocks.port(turn))

    def turns(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The turn that each connection has on its path."""
        number, fleet = np.divmod(indices, self._fleets)
        return np.asarray((number + self._first_number[fleet]) // self._paths[fleet])

    def environments(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The execution environment of each connection: a number in the whole burst, 0 that of the first connection.

        Each address of a host is one.
        """
        number, fleet = np.divmod(indices, self._fleets)
        turn, place = np.divmod(number + self._first_number[fleet], self._paths[fleet])
        paths = self._first_path[fleet] + place
        if self._host:
            return paths
        return np.asarray(self._first_environment[paths] + turn // self._blocks.per_environment - self._before(fleet))

    @property
    def environments_used(self) -> int:
        """How many of them the burst may use; some numbers may be nobody's."""
        return len(self._first_address) if self._host else int(self._environments_used().sum())

    @property
    def _first_environment(self) -> NDArray[np.int64]:
        """Of each path: the number of its first environment in the whole burst."""
        used = self._environments_used()
        return np.asarray(np.cumsum(used) - used)

    def _environments_used(self) -> NDArray[np.int64]:
        """How many environments each path may use."""
        fleets = np.arange(self._fleets)
        last = self._first_number + (self._connections - fleets + self._fleets - 1) // self._fleets
        used = last // self._paths // self._blocks.per_environment + 1 - self._before(fleets)
        return np.asarray(used[self._fleet_of])

    def _before(self, fleet: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each path of these fleets: the environments before the one that the burst begins with."""
        return np.asarray(self._first_number[fleet] // self._paths[fleet] // self._blocks.per_environment)

    def _row(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of a host's ports each connection has one of, and which of those."""
        nth, row = np.divmod(indices, len(self._rooms))
        return row, nth

    def without_port(self, indices: NDArray[np.int64], *, unseen: bool = False) -> NDArray[np.bool_]:
        """Which connections find no port of their host left; `unseen`: for a reason that its kernel does not know."""
        if not self._host:
            return np.zeros(len(indices), np.bool_)
        row, nth = self._row(indices)
        return np.asarray((nth >= self._rooms[row]) & ((self._unseen[row] > 0) | (not unseen)))

    def ports_apart(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of a host: a port below the ephemeral ones for each, from which questions take none of those away."""
        ports: NDArray[np.int64] = 1 + indices // self._paths[0] % (self.first_port - 1)
        return ports

    @property
    def of_kernel(self) -> bool:
        """Whether ports are those of a host, whose kernel chooses them."""
        return self._host

    @property
    def shares_ports(self) -> int | None:
        """After how many connections to one destination their addresses and ports come again; None where none do."""
        return len(self._rooms) * self._blocks.ports if self._host else None

    def indices(self, address: NDArray[np.int64], port: NDArray[np.int64], destination: int = 0) -> NDArray[np.int64]:
        """The connection of each address and port, of several the first; -1 if it is none of this burst.

        Of a host it is the one to that `destination`, a number among `destinations`.
        """
        path = self._by_address[np.searchsorted(self._starts, address, side="right") - 1]
        fleet = self._fleet_of[path]
        environment = address - self._first_address[path]
        turn = self._blocks.turn(port, environment)
        number = turn * self._paths[fleet] + path - self._first_path[fleet] - self._first_number[fleet]
        index = number * self._fleets + fleet
        if self._host:
            row = destination * self._paths[0] + path
            index = (turn - self._first_turns[row]) % self._blocks.ports * len(self._rooms) + row
        ours = (environment >= 0) & (environment < self._environments[path])
        ours &= turn // self._blocks.per_environment == environment
        ours &= (port >= self._blocks.first_port) & (port < self._blocks.first_port + self._blocks.ports)
        ours &= (index >= 0) & (index < self._connections)
        return np.where(ours, index, -1)


def _check(spec: BurstSpec) -> None:
    """ValueError if the burst does not fit into its fleets."""
    if not spec.fleets:
        raise ValueError("a burst needs at least one fleet")
    if spec.connections < 1:
        raise ValueError(f"a burst needs at least one connection, not {spec.connections}")
    _check_blocks(spec.blocks)
    for place, fleet in enumerate(spec.fleets):
        connections = spec.share(spec.connections, place)
        if fleet.reserved_concurrency is not None and spec.arrivals.per_s is None:
            connections = min(connections, fleet.reserved_concurrency)
        _check_paths(fleet, connections, spec.blocks)


def _check_paths(fleet: FleetSpec, connections: int, blocks: PortBlocks) -> None:
    if not fleet.paths:
        raise ValueError("a burst needs at least one path")
    if fleet.host is not None:
        return
    end = fleet.first_connection + connections
    for number, path in enumerate(fleet.paths):
        turns = (end - number + len(fleet.paths) - 1) // len(fleet.paths)
        if turns > path.environments * blocks.per_environment:
            raise ValueError(
                f"{path.eni}: {turns} connections do not fit into {path.environments} execution environments "
                f"with {blocks.per_environment} ports each"
            )


def _check_blocks(blocks: PortBlocks) -> None:
    if not 0 < blocks.per_environment <= blocks.ports:
        raise ValueError(f"{blocks.per_environment} ports per environment out of {blocks.ports} make no block")
    if blocks.first_port < 1 or blocks.first_port + blocks.ports - 1 > _LAST_PORT:
        raise ValueError(f"{blocks.ports} ports from {blocks.first_port} on go beyond {_LAST_PORT}")
