"""What an engine is to the clients: a way to send requests, and something that hears the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.result import RingCount

__all__ = ["Hears", "Medium"]


class Hears(Protocol):
    """What becomes of the requests; all methods take the indices of a batch, repetitions and strays included."""

    def answered(self, indices: Indices, addresses: NDArray[np.uint32], now_s: float) -> None:
        """The resolver told the server's address."""

    def unanswerable(self, indices: Indices, now_s: float) -> None:
        """The resolver said no."""

    def connected(self, indices: Indices, now_s: float) -> None:
        """The server accepted."""

    def reset(self, indices: Indices, now_s: float) -> None:
        """The server refused, or ended a connection without courtesy."""

    def responded(self, indices: Indices, now_s: float) -> None:
        """The server answered a request."""

    def closed(self, indices: Indices, now_s: float) -> None:
        """The server closed as well."""


class Medium(Protocol):
    """Carries requests to where they are answered; the clients decide whose and when."""

    repeats: bool
    """Whether the clients repeat what is not answered; kernel TCP does so by itself."""
    close_is_answered: bool
    """Whether a close waits for the other side's."""

    def descriptors(self) -> Iterable[int]:
        """What becomes readable when there is something to receive."""

    def ask(self, indices: Indices) -> None:
        """Send DNS queries."""

    def call(self, indices: Indices) -> None:
        """Send SYNs, or a flow's first datagrams."""

    def request(self, indices: Indices) -> None:
        """Send requests on established connections."""

    def close(self, indices: Indices) -> None:
        """Send FINs, or whatever closes; those of a connection may be sent again."""

    def drop(self, indices: Indices) -> None:
        """End connections in any state at once, with a RST where the other side knows of them."""

    def forget(self, indices: Indices) -> None:
        """Nothing more is wanted of connections that were given up before they were established."""

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in what came and tell; whether there was anything."""

    def count(self) -> RingCount:
        """Frames taken in, and those lost on the way into the engine."""

    def leave(self) -> None:
        """Let open connections be, also when this process ends."""
