"""By what a frame is known to be a lab's: a MAC address, or an IPv4 address that only the lab has there."""

from __future__ import annotations

from ipaddress import IPv4Address
import struct

from lab.plan.objects import Address, Plan, VethPair
from traffic.packet_socket import ETH_P_IP

__all__ = ["Sightings"]

_TYPE, _SOURCE, _DESTINATION = slice(12, 14), slice(26, 30), slice(30, 34)


class Sightings:
    """Frames of one lab."""

    def __init__(self, plan: Plan) -> None:
        pairs = [item for item in plan.objects if isinstance(item, VethPair)]
        macs = [port.mac for pair in pairs for port in (pair.a, pair.b)] + [fleet.mac for fleet in plan.fleets]
        self._macs = {bytes.fromhex(mac.replace(":", "")) for mac in macs}
        addresses = {item.address.ip for item in plan.objects if isinstance(item, Address)}
        addresses |= {address for server in plan.servers for address in server.addresses}
        self._addresses = {address.packed for address in addresses if not address.is_loopback}
        self._environments = [
            (int(path.first_address), int(path.first_address) + 2 * path.environments)
            for fleet in plan.fleets
            for path in fleet.paths
        ]
        """The rings' addresses, and after them those that are the fleet's kernel's."""

    @property
    def any_mac(self) -> bytes:
        """One of its MAC addresses."""
        return min(self._macs)

    def is_of_lab(self, frame: bytes) -> bool:
        """Whether it can only be the lab's."""
        if frame[:6] in self._macs or frame[6:12] in self._macs:
            return True
        if frame[_TYPE] != struct.pack("!H", ETH_P_IP):
            return False
        ends = frame[_SOURCE], frame[_DESTINATION]
        return any(end in self._addresses or self._is_environment(end) for end in ends)

    def _is_environment(self, address: bytes) -> bool:
        number = int(IPv4Address(address))
        return any(first <= number < end for first, end in self._environments)
