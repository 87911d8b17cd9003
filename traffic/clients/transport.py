"""The interface between clients and engines: a transport sends requests and calls back with the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.result import RingCount

__all__ = ["Callbacks", "Handshakes", "Transport"]


class Callbacks(Protocol):
    """What a transport has received; each method takes the indices of a batch, repeated and stray answers included."""

    def answered(self, indices: Indices, addresses: NDArray[np.uint32], now_s: float) -> None:
        """The resolver answered with the server's addresses: a row for each connection, filled up with zeros."""

    def no_data(self, indices: Indices, now_s: float) -> None:
        """The resolver answered that there is no AAAA record."""

    def unanswerable(self, indices: Indices, now_s: float) -> None:
        """The resolver answered with an error, or without an address."""

    def connected(self, indices: Indices, now_s: float) -> None:
        """The server accepted: a SYN-ACK, or the first echo over UDP."""

    def without_port(self, indices: Indices, now_s: float) -> None:
        """The host had no ephemeral port left: connect() failed with EADDRNOTAVAIL, and no SYN was sent."""

    def secured(self, indices: Indices, now_s: float) -> None:
        """The TLS handshake is complete, and the server's certificate accepted."""

    def insecure(self, indices: Indices, reason: str) -> None:
        """The TLS handshake has failed, for a reason that a sentence can end with."""

    def reset(self, indices: Indices, now_s: float) -> None:
        """A RST came, from the server or from a node on the way."""

    def responded(self, indices: Indices, now_s: float) -> None:
        """A response is complete."""

    def closed(self, indices: Indices, now_s: float) -> None:
        """The server answered a FIN with its own."""

    def closed_by_server(self, indices: Indices, now_s: float) -> None:
        """The server's FIN came first."""


class Transport(Protocol):
    """Sends what the clients decide to send."""

    repeats: bool
    """Whether the clients repeat unanswered requests; kernel TCP does it by itself."""
    close_is_answered: bool
    """Whether the server answers a close."""

    def descriptors(self) -> Iterable[int]:
        """Descriptors that are readable while `receive` has something to do."""

    def ask(self, indices: Indices) -> None:
        """Send each connection's DNS queries that have no answer yet (`Connections.missing`)."""

    def call(self, indices: Indices) -> None:
        """Send SYNs, or the first datagrams of UDP flows."""

    def request(self, indices: Indices) -> None:
        """Send requests on established connections."""

    def close(self, indices: Indices) -> None:
        """Send FINs, or close in the way that the burst asks for; may be repeated."""

    def drop(self, indices: Indices) -> None:
        """End connections in any state at once, with a RST where the server knows of them."""

    def forget(self, indices: Indices) -> None:
        """Release what belongs to connections that were given up or have ended; the server's FIN is answered."""

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in what has arrived; whether there was anything."""

    def count(self) -> RingCount:
        """Frames received, and frames lost because a ring was full."""


class Handshakes(Protocol):
    """Makes the TLS handshakes of a transport's connections."""

    def begin(self, indices: Indices) -> None:
        """Send a ClientHello on each of these established connections."""

    def why_unanswered(self, indices: Indices) -> Iterable[tuple[str, Indices]]:
        """What is known of why handshakes are not complete in time: each reason, and the connections it is true of."""
