"""The rings of a burst's fleets as one: a frame leaves by the interface whose MAC address it bears."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from traffic.frames import pack_mac
from traffic.namespaces import Namespace
from traffic.result import RingCount
from traffic.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from traffic.frames import Batch
    from traffic.spec import FleetSpec

__all__ = ["Rings"]

_SOURCE = slice(6, 12)
"""The source MAC address in a frame."""


class Rings:
    """A ring for each fleet, in its namespace."""

    def __init__(self, fleets: Iterable[FleetSpec], *, rx_slots: int, tx_slots: int | None = None) -> None:
        sizes = {"rx_slots": rx_slots} | ({} if tx_slots is None else {"tx_slots": tx_slots})
        self._undo = ExitStack()
        self._rings: list[Ring] = []
        macs = []
        for fleet in fleets:
            with Namespace(fleet.namespace):
                self._rings.append(self._undo.enter_context(Ring(fleet.interface, **sizes)))
            macs.append(np.frombuffer(pack_mac(fleet.mac), np.uint8))
        self._macs = np.array(macs)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def descriptors(self) -> tuple[int, ...]:
        """Readable while a frame waits."""
        return tuple(ring.fileno() for ring in self._rings)

    def send(self, frames: Batch, *, in_order: bool = False) -> None:
        """Send frames: those of each interface in order, or all of them, which takes a system call for each change."""
        if len(self._rings) == 1:
            self._rings[0].send(frames)
            return
        sender = (frames[:, np.newaxis, _SOURCE] == self._macs).all(axis=2).argmax(axis=1)
        for ring, some in _runs(sender) if in_order else _groups(sender):
            self._rings[ring].send(frames[some])

    def receive(self) -> tuple[Batch, NDArray[np.uint32]]:
        """Waiting frames of one ring, and their lengths; none if none waits anywhere."""
        for _ in self._rings[1:]:
            batch = self._rings[self._next].receive()
            if len(batch[0]):
                return batch
            self._next = (self._next + 1) % len(self._rings)
        batch = self._rings[self._next].receive()
        if not len(batch[0]):
            for ring in self._rings:
                ring.take_error()  # a link that goes down is told by what is sent there next
        return batch

    def count(self) -> RingCount:
        """Frames that all rings took, and those they had no room for."""
        counts = [ring.count() for ring in self._rings]
        return RingCount(sum(count.received for count in counts), sum(count.dropped for count in counts))


def _runs(sender: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Frames that follow one another at the same interface."""
    changes = np.flatnonzero(np.diff(sender)) + 1
    edges = [0, *changes.tolist(), len(sender)]
    for start, end in pairwise(edges):
        yield int(sender[start]), slice(start, end)


def _groups(sender: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    for ring in np.flatnonzero(np.bincount(sender)).tolist():
        yield ring, sender == ring
