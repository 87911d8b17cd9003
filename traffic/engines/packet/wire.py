"""The packet engine's frames: built from the indices of connections, and read back into them."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from traffic import frames as f
from traffic.fleet import Fleet
from traffic.frames import Batch, pack_mac, seal, u16, u32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.spec import BurstSpec

__all__ = ["DATAGRAM", "Answered", "Datagrams", "Segments", "Wire", "request_text"]

_DNS_PORT = 53
_DNS_ID = f.UDP_PAYLOAD
_DNS_FLAGS = f.UDP_PAYLOAD + 2
_DNS_ANSWERS = f.UDP_PAYLOAD + 6
_DNS_RESPONSE, _DNS_RCODE = 0x8000, 0x000F

# An A record right after the question, named by a pointer to it: c00c, type A, class IN, (TTL,) four bytes.
_RECORD_BYTES = 16
_A_RECORD = np.frombuffer(bytes.fromhex("c00c00010001"), np.uint8)

_ETHERTYPE_IPV4 = b"\x08\x00"
_IP_HEADER = Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1
_TCP_HEADER = Struct("!HHIIBBHHH")  # RFC 9293 section 3.1
_UDP_HEADER = Struct("!HHHH")  # RFC 768
_DO_NOT_FRAGMENT = 0x4000

DATAGRAM = b"is anybody there?\n"
"""What a flow over UDP sends, and the server sends back."""


@dataclass(frozen=True, slots=True)
class Answered:
    """DNS answers of one batch."""

    good: Indices
    addresses: NDArray[np.uint32]
    bad: Indices
    """Connections whose question was answered with an error, or with no address."""


@dataclass(frozen=True, slots=True)
class Segments:
    """TCP segments of one batch, from the port that the connections called."""

    indices: Indices
    source: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    sequence: NDArray[np.uint32]
    acknowledgement: NDArray[np.uint32]
    payload: NDArray[np.uint32]
    """Bytes of data in each."""

    def where(self, chosen: NDArray[np.bool_]) -> Segments:
        """Some of them."""
        return Segments(
            self.indices[chosen],
            self.source[chosen],
            self.flags[chosen],
            self.sequence[chosen],
            self.acknowledgement[chosen],
            self.payload[chosen],
        )


@dataclass(frozen=True, slots=True)
class Datagrams:
    """UDP datagrams of one batch, from the port that the flows called."""

    indices: Indices
    source: NDArray[np.uint32]


class Wire:
    """Builds and reads the frames of one burst."""

    def __init__(self, spec: BurstSpec, query: bytes) -> None:
        self._fleet = Fleet(spec)
        self._query_bytes = len(query)
        self._first = spec.first_connection
        self._resolver = int(spec.resolver_address)
        self._port = spec.port
        self._macs = np.array([list(pack_mac(path.gateway_mac)) for path in spec.paths], np.uint8)
        self._resolver_macs = self._macs if spec.resolver_mac is None else _same(spec.resolver_mac, len(spec.paths))
        request = request_text(spec.hostname)
        self.request_bytes = len(request)
        templates = _templates(spec, query, request)
        self._query, self._syn, self._segment, self._request, self._datagram = (
            np.frombuffer(raw, np.uint8) for raw in templates
        )

    def queries(self, indices: Indices) -> Batch:
        """A DNS query for each connection, identified by the low bits of its number."""
        batch = _copies(self._query, len(indices))
        ends = self._fleet.endpoints(indices)
        batch[:, 0:6] = self._resolver_macs[ends.path]
        u32(batch, f.SOURCE)[:] = ends.address
        u16(batch, f.SOURCE_PORT)[:] = ends.port
        u16(batch, _DNS_ID)[:] = (indices + self._first) & 0xFFFF
        return seal(batch, f.UDP)

    def syns(self, indices: Indices, destination: NDArray[np.uint32], sequence: NDArray[np.uint32]) -> Batch:
        """A SYN for each connection; a retransmission is the same frame again."""
        batch = self._addressed(self._syn, indices, destination)
        u32(batch, f.SEQUENCE)[:] = sequence
        return seal(batch, f.TCP)

    def segments(
        self,
        indices: Indices,
        destination: NDArray[np.uint32],
        flags: int,
        sequence: NDArray[np.uint32],
        acknowledgement: NDArray[np.uint32],
    ) -> Batch:
        """A segment for each connection; with PSH among the flags it carries a request, else nothing."""
        template = self._request if flags & f.PSH else self._segment
        batch = self._addressed(template, indices, destination)
        batch[:, f.FLAGS] = flags
        u32(batch, f.SEQUENCE)[:] = sequence
        u32(batch, f.ACKNOWLEDGEMENT)[:] = acknowledgement
        return seal(batch, f.TCP)

    def datagrams(self, indices: Indices, destination: NDArray[np.uint32]) -> Batch:
        """A UDP datagram for each flow."""
        return seal(self._addressed(self._datagram, indices, destination), f.UDP)

    def _addressed(self, template: Batch, indices: Indices, destination: NDArray[np.uint32]) -> Batch:
        batch = _copies(template, len(indices))
        ends = self._fleet.endpoints(indices)
        batch[:, 0:6] = self._macs[ends.path]
        u32(batch, f.SOURCE)[:] = ends.address
        u32(batch, f.DESTINATION)[:] = destination
        u16(batch, f.SOURCE_PORT)[:] = ends.port
        return batch

    def read(self, batch: Batch, lengths: NDArray[np.uint32]) -> tuple[Answered, Segments, Datagrams]:
        """DNS answers, TCP segments and UDP datagrams among frames that came in; everything else is nobody's."""
        if batch.shape[1] < f.UDP_PAYLOAD:
            batch, lengths = np.zeros((0, f.TCP_OPTIONS), np.uint8), lengths[:0]
        addresses, ports = u32(batch, f.DESTINATION), u16(batch, f.DESTINATION_PORT)
        indices = self._fleet.indices(addresses.astype(np.int64), ports.astype(np.int64))
        protocol, source_port = batch[:, f.PROTOCOL], u16(batch, f.SOURCE_PORT)
        ours = indices >= 0
        tcp = ours & (protocol == f.TCP) & (source_port == self._port) & (lengths >= f.TCP_OPTIONS)
        udp = ours & (protocol == f.UDP)
        from_resolver = u32(batch, f.SOURCE) == self._resolver
        dns = udp & from_resolver & (source_port == _DNS_PORT) & (lengths >= f.UDP_PAYLOAD + self._query_bytes)
        udp &= (source_port == self._port) & ~from_resolver
        return (
            self._answered(batch[dns], lengths[dns], indices[dns]),
            _segments(batch[tcp], indices[tcp]),
            Datagrams(indices[udp], u32(batch[udp], f.SOURCE).astype(np.uint32)),
        )

    def _answered(self, batch: Batch, lengths: NDArray[np.uint32], indices: Indices) -> Answered:
        if not len(batch):
            return Answered(indices, np.zeros(0, np.uint32), indices)
        flags = u16(batch, _DNS_FLAGS)
        ours = (flags & _DNS_RESPONSE) != 0
        ours &= u16(batch, _DNS_ID) == ((indices + self._first) & 0xFFFF)
        good, addresses = self._addresses(batch, lengths)
        good &= ours & ((flags & _DNS_RCODE) == 0)
        return Answered(indices[good], addresses[good], indices[ours & ~good])

    def _addresses(self, batch: Batch, lengths: NDArray[np.uint32]) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
        """Where an A record follows the question, and its address."""
        start = f.UDP_PAYLOAD + self._query_bytes
        end = start + _RECORD_BYTES
        if batch.shape[1] < end:
            return np.zeros(len(batch), np.bool_), np.zeros(len(batch), np.uint32)
        record = (batch[:, start : start + len(_A_RECORD)] == _A_RECORD).all(axis=1)
        good = record & (lengths >= end) & (u16(batch, _DNS_ANSWERS) > 0)
        return good, u32(batch, end - 4).astype(np.uint32)


def _segments(batch: Batch, indices: Indices) -> Segments:
    return Segments(
        indices=indices,
        source=u32(batch, f.SOURCE).astype(np.uint32),
        flags=batch[:, f.FLAGS] & np.uint8(f.SYN | f.FIN | f.RST | f.PSH | f.ACK),
        sequence=u32(batch, f.SEQUENCE).astype(np.uint32),
        acknowledgement=u32(batch, f.ACKNOWLEDGEMENT).astype(np.uint32),
        payload=f.tcp_payload_lengths(batch).astype(np.uint32),
    )


def request_text(hostname: str) -> bytes:
    """What a client asks a server: a real HTTP request, so that captures tell a story."""
    return f"GET / HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()


def _same(mac: str, paths: int) -> NDArray[np.uint8]:
    """One MAC address for all paths."""
    return np.array([list(pack_mac(mac))] * paths, np.uint8)


def _copies(template: Batch, count: int) -> Batch:
    batch = np.empty((count, len(template)), np.uint8)
    batch[:] = template
    return batch


def _templates(spec: BurstSpec, query: bytes, request: bytes) -> Iterator[bytes]:
    """A DNS query, a SYN with an MSS option, an empty segment, one with a request, and a UDP datagram.

    They are complete but for addresses, numbers and checksums. Packed here rather than built by scapy: its import would
    cost each burst 0.3 s and 24 MB. A test holds them against scapy's.
    """
    yield _packet(spec, f.UDP, _udp(_DNS_PORT, query))
    yield _packet(spec, f.TCP, _TCP_HEADER.pack(0, spec.port, 0, 0, 6 << 4, f.SYN, f.FULL_WINDOW, 0, 0) + f.MSS_OPTION)
    header = _TCP_HEADER.pack(0, spec.port, 0, 0, 5 << 4, f.ACK, f.FULL_WINDOW, 0, 0)
    yield _packet(spec, f.TCP, header)
    yield _packet(spec, f.TCP, header + request)
    yield _packet(spec, f.UDP, _udp(spec.port, DATAGRAM))


def _udp(port: int, payload: bytes) -> bytes:
    return _UDP_HEADER.pack(0, port, _UDP_HEADER.size + len(payload), 0) + payload


def _packet(spec: BurstSpec, protocol: int, payload: bytes) -> bytes:
    ethernet = bytes(6) + pack_mac(spec.mac) + _ETHERTYPE_IPV4
    length = _IP_HEADER.size + len(payload)
    source, resolver = spec.paths[0].first_address.packed, spec.resolver_address.packed
    header = _IP_HEADER.pack(
        0x45, f.ENGINE_TOS, length, 1, _DO_NOT_FRAGMENT, f.INITIAL_TTL, protocol, 0, source, resolver
    )
    return ethernet + header + payload
