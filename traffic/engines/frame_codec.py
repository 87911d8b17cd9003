"""The frames of a burst, a batch at a time: built by patching copies of templates, read into indices of connections."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

import dns.rdatatype
import numpy as np

from traffic import frames as f
from traffic.clients.state import AAAA, A
from traffic.engines.payloads import DATAGRAM, request_text
from traffic.fleet import Fleet
from traffic.frames import Batch, pack_mac, seal, u16, u32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.spec import BurstSpec

__all__ = ["Datagrams", "DnsAnswers", "FrameCodec", "Segments", "questions"]

_DNS_PORT = 53
_DNS_ID = f.UDP_PAYLOAD
_DNS_FLAGS = f.UDP_PAYLOAD + 2
_DNS_ANSWERS = f.UDP_PAYLOAD + 6
_DNS_RESPONSE, _DNS_RCODE = 0x8000, 0x000F
_TYPE_BEFORE_END = 4
"""A query ends with its type and class, two bytes each."""

# An A record right after the question, named by a pointer to it: c00c, type A, class IN, (TTL,) four bytes.
_RECORD_BYTES = 16
_A_RECORD = tuple(np.frombuffer(bytes.fromhex("c00c00010001"), np.uint16))

_ETHERTYPE_IPV4 = b"\x08\x00"
_IP_HEADER = Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1
_TCP_HEADER = Struct("!HHIIBBHHH")  # RFC 9293 section 3.1
_UDP_HEADER = Struct("!HHHH")  # RFC 768
_DO_NOT_FRAGMENT = 0x4000


@dataclass(frozen=True, slots=True)
class DnsAnswers:
    """DNS answers of one batch."""

    good: Indices
    addresses: NDArray[np.uint32]
    """Of each good one a row: those in the answer, and zeros."""
    no_data: Indices
    """Connections whose question for an AAAA record was answered: there is none."""
    bad: Indices
    """Connections whose query was answered with an error, or without an address."""


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
        """The segments of these places in the batch."""
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


class FrameCodec:
    """Builds and reads the frames of one burst.

    Templates are complete but for addresses, numbers and checksums. They are packed here and not built by scapy, whose
    import would cost each burst 0.3 s and 24 MB; a test compares them with scapy's.
    """

    def __init__(self, spec: BurstSpec, query: bytes) -> None:
        self._fleet = Fleet(spec)
        self._query_bytes = len(query)
        self._type = f.UDP_PAYLOAD + len(query) - _TYPE_BEFORE_END
        self._first, self._connections = spec.fleets[0].first_connection, spec.connections
        self._resolver = int(spec.resolver_address)
        self._port = spec.port
        gateways = [path.gateway_mac for path in spec.sources]
        own = _macs([fleet.mac for fleet in spec.fleets for _ in fleet.paths])
        self._macs = np.hstack([_macs(gateways), own])
        """Of each path: destination and source, 12 bytes; as the next."""
        self._resolver_macs = np.hstack([_macs([spec.resolver_mac or gateway for gateway in gateways]), own])
        self._query = _template(spec, f.UDP, _udp(_DNS_PORT, query))
        self._syn = _template(spec, f.TCP, _tcp(spec.port, f.SYN, f.MSS_OPTION))
        self._segment = _template(spec, f.TCP, _tcp(spec.port, f.ACK))
        self._request = _template(spec, f.TCP, _tcp(spec.port, f.ACK) + request_text(spec.hostname))
        self._datagram = _template(spec, f.UDP, _udp(spec.port, DATAGRAM))

    def turns(self, indices: Indices) -> Indices:
        """The turn that each connection has on its path."""
        return self._fleet.turns(indices)

    def queries(self, indices: Indices, missing: NDArray[np.uint8]) -> Batch:
        """The DNS queries of each connection that are missing an answer, A before AAAA."""
        indices, aaaa = questions(indices, missing)
        batch = _copies(self._query, len(indices))
        ends = self._fleet.endpoints(indices)
        batch[:, 0:12] = self._resolver_macs.take(ends.path, axis=0)
        u32(batch, f.SOURCE)[:] = ends.address
        u16(batch, f.SOURCE_PORT)[:] = ends.port
        u16(batch, _DNS_ID)[:] = self.identifiers(indices, aaaa)
        u16(batch, self._type)[:] = np.where(aaaa, dns.rdatatype.AAAA, dns.rdatatype.A)
        return seal(batch, f.UDP)

    def identifiers(self, indices: Indices, aaaa: NDArray[np.bool_]) -> Indices:
        """The low bits of a connection's number; for AAAA inverted, since both questions come from one socket."""
        return np.asarray(((indices + self._first) & 0xFFFF) ^ np.where(aaaa, 0xFFFF, 0))

    def segments(
        self,
        indices: Indices,
        destination: NDArray[np.uint32],
        flags: int,
        sequence: NDArray[np.uint32],
        acknowledgement: NDArray[np.uint32] | None,
    ) -> Batch:
        """A segment of each connection; one with SYN offers an MSS, one with PSH carries a request."""
        template = self._syn if flags & f.SYN else self._request if flags & f.PSH else self._segment
        batch = self._addressed(template, indices, destination)
        batch[:, f.FLAGS] = flags
        u32(batch, f.SEQUENCE)[:] = sequence
        if acknowledgement is not None:
            u32(batch, f.ACKNOWLEDGEMENT)[:] = acknowledgement
        return seal(batch, f.TCP)

    def datagrams(self, indices: Indices, destination: NDArray[np.uint32]) -> Batch:
        """A UDP datagram of each flow."""
        return seal(self._addressed(self._datagram, indices, destination), f.UDP)

    def _addressed(self, template: Batch, indices: Indices, destination: NDArray[np.uint32]) -> Batch:
        batch = _copies(template, len(indices))
        ends = self._fleet.endpoints(indices)
        batch[:, 0:12] = self._macs.take(ends.path, axis=0)
        u32(batch, f.SOURCE)[:] = ends.address
        u32(batch, f.DESTINATION)[:] = destination
        u16(batch, f.SOURCE_PORT)[:] = ends.port
        return batch

    def read(
        self, batch: Batch, lengths: NDArray[np.uint32], called: NDArray[np.uint32]
    ) -> tuple[DnsAnswers, Segments, Datagrams]:
        """DNS answers, TCP segments and UDP datagrams for connections of the burst, which `called` an address each."""
        if batch.shape[1] < f.UDP_PAYLOAD:
            batch, lengths = np.zeros((0, f.TCP_OPTIONS), np.uint8), lengths[:0]
        addresses, ports = u32(batch, f.DESTINATION).astype(np.int64), u16(batch, f.DESTINATION_PORT).astype(np.int64)
        sharing = [self._fleet.indices(addresses, ports, number) for number in range(self._fleet.destinations)]
        indices = sharing[0]
        for other in sharing[1:]:
            indices = np.where((other >= 0) & (called[other] == u32(batch, f.SOURCE)), other, indices)
        protocol, source_port = batch[:, f.PROTOCOL], u16(batch, f.SOURCE_PORT)
        tcp = (indices >= 0) & (protocol == f.TCP) & (source_port == self._port) & (lengths >= f.TCP_OPTIONS)
        udp = protocol == f.UDP
        from_resolver = u32(batch, f.SOURCE) == self._resolver
        dns = udp & from_resolver & (source_port == _DNS_PORT) & (lengths >= f.UDP_PAYLOAD + self._query_bytes)
        udp &= (indices >= 0) & (source_port == self._port) & ~from_resolver
        return (
            self._dns_answers(batch[dns], lengths[dns], [candidates[dns] for candidates in sharing]),
            _segments(batch[tcp], indices[tcp]),
            Datagrams(indices[udp], u32(batch[udp], f.SOURCE).astype(np.uint32)),
        )

    def _dns_answers(self, batch: Batch, lengths: NDArray[np.uint32], sharing: list[Indices]) -> DnsAnswers:
        if not len(batch):
            return DnsAnswers(sharing[0], np.zeros((0, 1), np.uint32), sharing[0], sharing[0])
        flags = u16(batch, _DNS_FLAGS) & np.uint16(_DNS_RESPONSE | _DNS_RCODE)
        aaaa = u16(batch, self._type) == dns.rdatatype.AAAA
        indices = self._asking(sharing, u16(batch, _DNS_ID), aaaa)
        ours = indices >= 0
        without_error = ours & (flags == _DNS_RESPONSE)
        addresses = self._addresses(batch, lengths)
        good = without_error & (addresses[:, 0] != 0) & ~aaaa
        no_data = without_error & aaaa
        bad = ours & ((flags & _DNS_RESPONSE) != 0) & ~good & ~no_data
        return DnsAnswers(indices[good], addresses[good], indices[no_data], indices[bad])

    def _asking(self, sharing: list[Indices], identifiers: NDArray[np.uint16], aaaa: NDArray[np.bool_]) -> Indices:
        """Of the connections that share an address and port, the one that asked with the identifier of the answer."""
        if self._fleet.shares_ports is None:
            return np.where(self.identifiers(sharing[0], aaaa) == identifiers, sharing[0], -1)
        asking = np.full(len(identifiers), -1)
        for indices in sharing:
            for later in range(0, self._connections, self._fleet.shares_ports):
                candidates = indices + later
                asks = (indices >= 0) & (candidates < self._connections)
                asks &= self.identifiers(candidates, aaaa) == identifiers
                asking[asks] = candidates[asks]
        return asking

    def without_port(self, indices: Indices) -> NDArray[np.bool_]:
        """Which connections find no port of their host left."""
        return self._fleet.without_port(indices)

    def _addresses(self, batch: Batch, lengths: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Of each answer a row: the addresses of the A records that follow the question, and zeros."""
        start = f.UDP_PAYLOAD + self._query_bytes
        counts = u16(batch, _DNS_ANSWERS)
        most = min(int(counts.max()), (batch.shape[1] - start) // _RECORD_BYTES)
        addresses = np.zeros((len(batch), max(most, 1)), np.uint32)
        for number in range(most):
            at, end = start + number * _RECORD_BYTES, start + (number + 1) * _RECORD_BYTES
            words = batch[:, at : at + 2 * len(_A_RECORD)].view(np.uint16)
            record = (lengths >= end) & (counts > number)
            for place, word in enumerate(_A_RECORD):
                record &= words[:, place] == word
            addresses[record, number] = u32(batch, end - 4)[record]
        return addresses


def questions(indices: Indices, missing: NDArray[np.uint8]) -> tuple[Indices, NDArray[np.bool_]]:
    """A connection's index for each of its missing answers, and which of these are for AAAA; A comes first."""
    both = (missing[:, np.newaxis] & np.array([A, AAAA], np.uint8)) != 0
    row, column = np.nonzero(both)
    return indices[row], column == 1


def _segments(batch: Batch, indices: Indices) -> Segments:
    if not len(batch):
        nothing = np.zeros(0, np.uint32)
        return Segments(indices, nothing, np.zeros(0, np.uint8), nothing, nothing, nothing)
    return Segments(
        indices=indices,
        source=u32(batch, f.SOURCE).astype(np.uint32),
        flags=batch[:, f.FLAGS] & np.uint8(f.SYN | f.FIN | f.RST | f.PSH | f.ACK),
        sequence=u32(batch, f.SEQUENCE).astype(np.uint32),
        acknowledgement=u32(batch, f.ACKNOWLEDGEMENT).astype(np.uint32),
        payload=f.tcp_payload_lengths(batch).astype(np.uint32),
    )


def _macs(texts: list[str]) -> NDArray[np.uint8]:
    return np.array([list(pack_mac(text)) for text in texts], np.uint8)


def _copies(template: Batch, count: int) -> Batch:
    batch = np.empty((count, len(template)), np.uint8)
    batch[:] = template
    return batch


def _tcp(port: int, flags: int, options: bytes = b"") -> bytes:
    words = (_TCP_HEADER.size + len(options)) // 4
    return _TCP_HEADER.pack(0, port, 0, 0, words << 4, flags, f.FULL_WINDOW, 0, 0) + options


def _udp(port: int, payload: bytes) -> bytes:
    return _UDP_HEADER.pack(0, port, _UDP_HEADER.size + len(payload), 0) + payload


def _template(spec: BurstSpec, protocol: int, payload: bytes) -> NDArray[np.uint8]:
    ethernet = bytes(12) + _ETHERTYPE_IPV4
    length = _IP_HEADER.size + len(payload)
    source, resolver = spec.sources[0].first_address.packed, spec.resolver_address.packed
    header = _IP_HEADER.pack(
        0x45, f.ENGINE_TOS, length, 1, _DO_NOT_FRAGMENT, f.INITIAL_TTL, protocol, 0, source, resolver
    )
    return np.frombuffer(ethernet + header + payload, np.uint8)
