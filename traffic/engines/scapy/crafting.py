"""The scapy engine's packets: built by scapy from layers, and dissected by it; nobody else here knows scapy."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.engines.packet.wire import DATAGRAM, request_text
from traffic.engines.scapy.dissected import Dns, Endpoint, Packet
from traffic.fleet import Fleet
from traffic.frames import ENGINE_TOS, FULL_WINDOW

if TYPE_CHECKING:
    from traffic.spec import BurstSpec

__all__ = ["DNS_PORT", "Crafts", "dissect"]

DNS_PORT = 53
_MSS = 1460  # RFC 9293 section 3.7.1: 1,500 bytes less both headers
_FLAGS = {"F": "FIN", "S": "SYN", "R": "RST", "P": "PSH", "A": "ACK"}
_IDENTIFICATIONS = 0xFFFF


@cache
def _scapy() -> Any:
    """The layers that are needed; importing them takes 0.25 s."""
    from scapy.layers.dns import DNS, DNSQR  # noqa: PLC0415 -- only the engine's own process loads scapy
    from scapy.layers.inet import IP, TCP, UDP  # noqa: PLC0415
    from scapy.layers.l2 import Ether  # noqa: PLC0415
    from scapy.packet import Raw  # noqa: PLC0415

    return SimpleNamespace(DNS=DNS, DNSQR=DNSQR, IP=IP, TCP=TCP, UDP=UDP, Ether=Ether, Raw=Raw)


class Crafts:
    """Builds the packets of one burst, each with an IP identification of its own."""

    def __init__(self, spec: BurstSpec) -> None:
        self._spec, self._fleet = spec, Fleet(spec)
        self._layers = _scapy()
        self._made = 0
        self.request = request_text(spec.hostname)

    def connection(self, client: Endpoint) -> int:
        """The index of the connection that has this address and port; -1 if it is none of this burst's."""
        address, port = np.array([int(IPv4Address(client.address))]), np.array([client.port])
        return int(self._fleet.indices(address, port)[0])

    def question(self, index: int) -> Any:
        """A DNS query for the server's address."""
        layers, spec = self._layers, self._spec
        identifier = (index + spec.first_connection) & 0xFFFF
        asked = layers.DNS(id=identifier, rd=1, qd=layers.DNSQR(qname=spec.hostname))
        port = self._endpoint(index).port
        ip = self._ip(index, spec.resolver_address)
        return (
            self._ether(spec.resolver_mac or self._gateway(index)) / ip / layers.UDP(sport=port, dport=DNS_PORT) / asked
        )

    def segment(self, index: int, server: IPv4Address, flags: str, sequence: int, acknowledgement: int) -> Any:
        """A TCP segment; one with SYN offers an MSS, one with PSH carries a request."""
        layers = self._layers
        tcp = layers.TCP(
            sport=self._endpoint(index).port,
            dport=self._spec.port,
            flags=flags,
            seq=sequence,
            ack=acknowledgement,
            window=FULL_WINDOW,
            options=[("MSS", _MSS)] if "S" in flags else [],
        )
        packet = self._ether(self._gateway(index)) / self._ip(index, server) / tcp
        return packet / layers.Raw(self.request) if "P" in flags else packet

    def datagram(self, index: int, server: IPv4Address) -> Any:
        """A UDP datagram of a flow."""
        layers = self._layers
        udp = layers.UDP(sport=self._endpoint(index).port, dport=self._spec.port)
        return self._ether(self._gateway(index)) / self._ip(index, server) / udp / layers.Raw(DATAGRAM)

    def _ether(self, mac: str) -> Any:
        return self._layers.Ether(src=self._spec.mac, dst=mac)

    def _ip(self, index: int, destination: IPv4Address) -> Any:
        self._made = self._made % _IDENTIFICATIONS + 1
        source = self._endpoint(index).address
        return self._layers.IP(src=source, dst=str(destination), tos=ENGINE_TOS, id=self._made, flags="DF")

    def _endpoint(self, index: int) -> Endpoint:
        ends = self._fleet.endpoints(np.array([index]))
        return Endpoint(str(IPv4Address(int(ends.address[0]))), int(ends.port[0]))

    def _gateway(self, index: int) -> str:
        return self._spec.paths[int(self._fleet.endpoints(np.array([index])).path[0])].gateway_mac


def dissect(frame: Any) -> Packet | None:
    """What a frame says, bytes or scapy's own; None if it bears another mark than the engine's, or is of no use."""
    layers = _scapy()
    ip = layers.Ether(bytes(frame)).getlayer(layers.IP)
    if ip is None or ip.tos & ~0b11 != ENGINE_TOS or ip.frag:
        return None
    if ip.haslayer(layers.TCP):
        return _tcp(ip, ip[layers.TCP])
    return _udp(ip, ip[layers.UDP]) if ip.haslayer(layers.UDP) else None


def _tcp(ip: Any, tcp: Any) -> Packet:
    return Packet(
        protocol="tcp",
        source=Endpoint(ip.src, tcp.sport),
        destination=Endpoint(ip.dst, tcp.dport),
        identification=ip.id,
        length=ip.len,
        flags="-".join(_FLAGS[letter] for letter in str(tcp.flags) if letter in _FLAGS),
        sequence=tcp.seq,
        acknowledgement=tcp.ack,
        # By the headers' own words: what scapy takes for data depends on the port.
        payload_bytes=ip.len - 4 * (ip.ihl + tcp.dataofs),
    )


def _udp(ip: Any, udp: Any) -> Packet:
    dns = _dns(udp) if DNS_PORT in (udp.sport, udp.dport) else None
    return Packet(
        protocol="udp",
        source=Endpoint(ip.src, udp.sport),
        destination=Endpoint(ip.dst, udp.dport),
        identification=ip.id,
        length=ip.len,
        flags="DNS" if dns else "UDP",
        payload_bytes=udp.len - 8,
        dns=dns,
    )


def _dns(udp: Any) -> Dns | None:
    message = udp.getlayer(_scapy().DNS)
    if message is None or not message.qd:
        return None
    addresses = [record.rdata for record in message.an if record.type == 1] if message.rcode == 0 else []
    name = message.qd[0].qname.decode(errors="replace").rstrip(".")
    return Dns(message.id, bool(message.qr), name, addresses[0] if addresses else None)
