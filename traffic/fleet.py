"""Connection numbers to source addresses and ports, and back, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.spec import BurstSpec, PortBlocks

__all__ = ["Endpoints", "Fleet"]

_LAST_PORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Paths, source addresses and source ports of a batch of connections."""

    path: NDArray[np.int64]
    address: NDArray[np.int64]
    port: NDArray[np.int64]


class Fleet:
    """The execution environments of one burst; see `BurstSpec` for the numbering.

    Connections are named by their index in the burst, `number - first_connection`.
    """

    def __init__(self, spec: BurstSpec) -> None:
        _check(spec)
        self._paths = len(spec.paths)
        self._first_connection = spec.first_connection
        self._connections = spec.connections
        self._blocks = spec.blocks
        self._first_address = np.array([int(path.first_address) for path in spec.sources], np.int64)
        self._environments = np.array([path.environments for path in spec.paths], np.int64)
        self._by_address = np.argsort(self._first_address)
        self._starts = self._first_address[self._by_address]

    def endpoints(self, indices: NDArray[np.int64]) -> Endpoints:
        """Path, source address and source port of each connection."""
        turn, path = np.divmod(indices + self._first_connection, self._paths)
        environment = turn // self._blocks.per_environment
        return Endpoints(path, self._first_address[path] + environment, self._blocks.port(turn))

    def turns(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The turn that each connection has on its path."""
        return (indices + self._first_connection) // self._paths

    def environments(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The execution environment of each connection: a number in the whole burst, 0 that of the first connection."""
        turn, path = np.divmod(indices + self._first_connection, self._paths)
        first = self._first_connection // self._paths // self._blocks.per_environment
        return (turn // self._blocks.per_environment - first) * self._paths + path

    @property
    def environments_used(self) -> int:
        """How many of them the burst may use; some numbers may be nobody's."""
        return int(self.environments(np.array([self._connections - 1]))[0] // self._paths + 1) * self._paths

    def indices(self, address: NDArray[np.int64], port: NDArray[np.int64]) -> NDArray[np.int64]:
        """The connection of each address and port; -1 if it is none of this burst."""
        path = self._by_address[np.searchsorted(self._starts, address, side="right") - 1]
        environment = address - self._first_address[path]
        turn = self._blocks.turn(port, environment)
        index = turn * self._paths + path - self._first_connection
        ours = (environment >= 0) & (environment < self._environments[path])
        ours &= turn // self._blocks.per_environment == environment
        ours &= (port >= self._blocks.first_port) & (port < self._blocks.first_port + self._blocks.ports)
        ours &= (index >= 0) & (index < self._connections)
        return np.where(ours, index, -1)


def _check(spec: BurstSpec) -> None:
    """ValueError if the burst does not fit into its fleet."""
    if not spec.paths:
        raise ValueError("a burst needs at least one path")
    if spec.connections < 1:
        raise ValueError(f"a burst needs at least one connection, not {spec.connections}")
    _check_blocks(spec.blocks)
    end = spec.first_connection + spec.connections
    for number, path in enumerate(spec.paths):
        turns = (end - number + len(spec.paths) - 1) // len(spec.paths)
        if turns > path.environments * spec.blocks.per_environment:
            raise ValueError(
                f"{path.eni}: {turns} connections do not fit into {path.environments} execution environments "
                f"with {spec.blocks.per_environment} ports each"
            )


def _check_blocks(blocks: PortBlocks) -> None:
    if not 0 < blocks.per_environment <= blocks.ports:
        raise ValueError(f"{blocks.per_environment} ports per environment out of {blocks.ports} make no block")
    if blocks.first_port < 1 or blocks.first_port + blocks.ports - 1 > _LAST_PORT:
        raise ValueError(f"{blocks.ports} ports from {blocks.first_port} on go beyond {_LAST_PORT}")
