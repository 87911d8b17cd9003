"""The packet engine: clients without kernel sockets or descriptors, on a pair of AF_PACKET rings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.commands import Commands
from traffic.dns import encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.engines.tcp import FrameTransport
from traffic.privileges import give_up
from traffic.rings import Rings

if TYPE_CHECKING:
    from traffic.spec import BurstSpec

__all__ = ["run"]

_RX_SLOTS = 8192
"""More than both windows together: answers never find the ring full."""


def run(spec: BurstSpec) -> None:
    """Fire one burst and stay until it is over."""
    commands = Commands(sys.stdin.fileno())
    commands.handle_signals()
    connections = connections_of(spec, repeats=FrameTransport.repeats)
    with Rings(spec.fleets, rx_slots=_RX_SLOTS) as rings:
        transport = FrameTransport(spec, connections, FrameCodec(spec, encode_query(spec.hostname)), rings)
        burst = Burst(spec, Client(spec, connections, transport), transport, commands)
        give_up()
        burst.run()
