"""The scapy engine: one invocation at a time, every packet built and dissected by scapy and reported at each interface.

It is made to explain, not for load: it shows a connection on its whole path, through both NATs and back, or to the
interface after which it is dropped. Its TCP is the packet engine's.
"""

from __future__ import annotations

from dataclasses import replace
import sys
import time
from typing import TYPE_CHECKING

from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.commands import Commands
from traffic.clients.state import State, among
from traffic.engines.scapy.capture import CaptureSockets
from traffic.engines.scapy.codec import ScapyCodec
from traffic.engines.scapy.tracker import SETTLED_AFTER_S, Tracker
from traffic.engines.tcp import FrameTransport
from traffic.events import emit
from traffic.privileges import give_up
from traffic.rings import Rings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.spec import BurstSpec

__all__ = ["ExplainedTransport", "run"]

_SLOTS = 256
_UNANSWERED = among(State.TIMED_OUT, State.DNS_FAILED)


def run(spec: BurstSpec) -> None:
    """Make the connections one after another and stay until they are over."""
    if spec.destinations is not None:
        raise ValueError("the scapy engine has whole conversations; SYNs alone are the packet engine's")
    spec = replace(spec, at_a_time=1)
    commands = Commands(sys.stdin.fileno())
    commands.handle_signals()
    connections = connections_of(spec, repeats=FrameTransport.repeats)
    tracker = Tracker(lambda record: emit("packet", **record.to_json()))
    with (
        Rings(spec.fleets, rx_slots=_SLOTS, tx_slots=_SLOTS) as rings,
        CaptureSockets(spec.packet_sockets) as sockets,
    ):
        transport = ExplainedTransport(spec, connections, rings, sockets, tracker)
        burst = Burst(spec, Client(spec, connections, transport), transport, commands)
        give_up()
        burst.run()
        transport.report_rest()


class ExplainedTransport(FrameTransport):
    """A `Transport` whose packets are reported at every interface on their path."""

    def __init__(
        self, spec: BurstSpec, connections: Connections, rings: Rings, sockets: CaptureSockets, tracker: Tracker
    ) -> None:
        super().__init__(spec, connections, ScapyCodec(spec, tracker.sent), rings)
        self._sockets, self._tracker = sockets, tracker
        self._epoch_s = time.time()

    def descriptors(self) -> Iterable[int]:
        """The ring's and the capture sockets'."""
        return (*super().descriptors(), *self._sockets.descriptors())

    def forget(self, indices: Indices) -> None:
        """Report where the packets of connections were seen last that got no answer."""
        unanswered = _UNANSWERED[self._connections.state[indices]]
        for index in indices[unanswered].tolist():
            self._tracker.lost(index, time.time() - self._epoch_s)

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in the frames that wait, and report what passed on the path."""
        received = super().receive(callbacks, now_s)
        self._capture()
        self._tracker.report_until(time.time() - self._epoch_s - SETTLED_AFTER_S)
        return received

    def report_rest(self) -> None:
        """Report what is still on its way at the end."""
        time.sleep(SETTLED_AFTER_S)
        self._capture()
        self._tracker.report_until(float("inf"))

    def _capture(self) -> None:
        for captured in self._sockets.read(self._epoch_s):
            self._tracker.captured(captured)
