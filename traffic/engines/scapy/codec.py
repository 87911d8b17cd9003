"""The scapy engine's packets: built by scapy from layers, and dissected by it; no other module uses scapy."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dns.rdatatype
import numpy as np

from traffic import frames as f
from traffic.dns import encode_query
from traffic.engines.frame_codec import FrameCodec, questions
from traffic.engines.payloads import DATAGRAM, request_text
from traffic.engines.scapy.packets import Dns, Endpoint, Packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.frames import Batch
    from traffic.spec import BurstSpec

__all__ = ["ScapyCodec", "dissect"]

_DNS_PORT = 53
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


class ScapyCodec(FrameCodec):
    """Builds the frames of one burst, each with an IP identification of its own.

    `sent` is called with the index of each packet's connection, and the packet.
    """

    def __init__(self, spec: BurstSpec, sent: Callable[[int, Packet], None]) -> None:
        super().__init__(spec, encode_query(spec.hostname))
        self._spec, self._sent = spec, sent
        self._senders = [fleet.mac for fleet in spec.fleets for _ in fleet.paths]
        self._layers = _scapy()
        self._built = 0

    def queries(self, indices: Indices, missing: NDArray[np.uint8]) -> Batch:
        """The DNS queries of each connection that are missing an answer, A before AAAA."""
        layers, spec = self._layers, self._spec
        indices, aaaa = questions(indices, missing)
        ends = self._fleet.endpoints(indices)
        frames = (
            self._ip(path, address, spec.resolver_address, spec.resolver_mac)
            / layers.UDP(sport=port, dport=_DNS_PORT)
            / layers.DNS(id=number, rd=1, qd=layers.DNSQR(qname=spec.hostname, qtype="AAAA" if ipv6 else "A"))
            for number, ipv6, path, address, port in _rows(
                self.identifiers(indices, aaaa), aaaa, ends.path, ends.address, ends.port
            )
        )
        return self._batch(indices, frames)

    def segments(
        self,
        indices: Indices,
        destination: NDArray[np.uint32],
        flags: int,
        sequence: NDArray[np.uint32],
        acknowledgement: NDArray[np.uint32] | None,
    ) -> Batch:
        """A segment of each connection; one with SYN offers an MSS, one with PSH carries a request."""
        layers, spec = self._layers, self._spec
        ends = self._fleet.endpoints(indices)
        acknowledged = np.zeros(len(indices), np.uint32) if acknowledgement is None else acknowledgement
        options = [("MSS", _MSS)] if flags & f.SYN else []
        payload = layers.Raw(request_text(spec.hostname)) if flags & f.PSH else b""
        frames = (
            self._ip(path, address, IPv4Address(server))
            / layers.TCP(
                sport=port, dport=spec.port, flags=flags, seq=seq, ack=ack, window=f.FULL_WINDOW, options=options
            )
            / payload
            for path, address, port, server, seq, ack in _rows(
                ends.path, ends.address, ends.port, destination, sequence, acknowledged
            )
        )
        return self._batch(indices, frames)

    def datagrams(self, indices: Indices, destination: NDArray[np.uint32]) -> Batch:
        """A UDP datagram of each flow."""
        layers = self._layers
        ends = self._fleet.endpoints(indices)
        frames = (
            self._ip(path, address, IPv4Address(server))
            / layers.UDP(sport=port, dport=self._spec.port)
            / layers.Raw(DATAGRAM)
            for path, address, port, server in _rows(ends.path, ends.address, ends.port, destination)
        )
        return self._batch(indices, frames)

    def _ip(self, path: int, source: int, destination: IPv4Address, mac: str | None = None) -> Any:
        """Ethernet and IP headers; the next hop is the path's gateway unless there is a MAC address."""
        self._built = self._built % _IDENTIFICATIONS + 1
        ethernet = self._layers.Ether(src=self._senders[path], dst=mac or self._spec.sources[path].gateway_mac)
        return ethernet / self._layers.IP(
            src=str(IPv4Address(source)), dst=str(destination), tos=f.ENGINE_TOS, id=self._built, flags="DF"
        )

    def _batch(self, indices: Indices, frames: Iterable[Any]) -> Batch:
        """Frames of equal length as a matrix, each announced to `sent`."""
        rows = [bytes(frame) for frame in frames]
        for index, row in zip(indices.tolist(), rows, strict=True):
            if (packet := dissect(row)) is not None:
                self._sent(index, packet)
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)


def _rows(*columns: NDArray[Any]) -> Iterable[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def dissect(frame: bytes) -> Packet | None:
    """A frame's packet; None without the engines' mark, if it is a fragment, or if it is neither TCP nor UDP."""
    layers = _scapy()
    ip = layers.Ether(frame).getlayer(layers.IP)
    if ip is None or ip.tos & ~0b11 != f.ENGINE_TOS or ip.frag:
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
        # By the headers' lengths: what scapy takes for data depends on the port.
        payload_bytes=ip.len - 4 * (ip.ihl + tcp.dataofs),
    )


def _udp(ip: Any, udp: Any) -> Packet:
    dns = _dns(udp) if _DNS_PORT in (udp.sport, udp.dport) else None
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
    ipv6 = message.qd[0].qtype == dns.rdatatype.AAAA
    return Dns(message.id, bool(message.qr), name, ", ".join(addresses) or None, ipv6)
