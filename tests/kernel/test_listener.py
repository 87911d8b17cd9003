"""The remote server for real clients: its port and the processes that share it, in a throwaway namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
import trustme

from lab.kernel import nft, processes
from lab.kernel.netns import NamespaceThread
from lab.kernel.rtnl import add_address, wait_until_up
from lab.nodes.parts import ring_owns_marked
from lab.plan.objects import Address, VethPair
from tests.support.labs import eventually
from tests.support.throwaway import Throwaway
from traffic import frames as f
from traffic.ring import Ring
from traffic.spec import ServerSpec
from traffic.tls import Session

REPOSITORY = Path(__file__).parents[2]
PORT, HOSTNAME = 8080, "cache.example.com"
LOOPBACK = IPv4Address("127.0.0.1")
GET = b"GET / HTTP/1.1\r\n\r\n"
AUTHORITY = trustme.CA()
FEW = 100
"""Descriptors that leave room for some dozens of connections in each process."""

Connect = Callable[[], socket.socket]


def _start(inside: NamespaceThread, spec: ServerSpec, descriptors: int) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "traffic", "server", spec.to_json())
    server = inside.run(
        subprocess.Popen,
        ("prlimit", f"--nofile={descriptors}", *command),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert "ready" in server.stdout.readline()
    return server


class Site:
    """A server and clients in one namespace."""

    def __init__(
        self, namespaces: Throwaway, undo: ExitStack, descriptors: int, certificate: Path | None = None
    ) -> None:
        self._name = namespaces.new()
        self._inside, self._undo = namespaces[self._name], undo
        path = None if certificate is None else str(certificate)
        spec = ServerSpec("lo", (LOOPBACK,), PORT, "cache", HOSTNAME, path)
        self.server = undo.enter_context(_start(self._inside, spec, descriptors))
        undo.callback(self.server.kill)
        self._at_first = self._descriptors()

    def connect(self) -> socket.socket:
        """A client's connection, which ends with the test."""
        client = self._inside.run(socket.create_connection, (str(LOOPBACK), PORT), 5.0)
        return self._undo.enter_context(client)

    def echo(self) -> socket.socket:
        """A client's UDP socket, which ends with the test."""
        client = self._undo.enter_context(self._inside.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
        client.connect((str(LOOPBACK), PORT))
        client.settimeout(5.0)
        return client

    def processes(self) -> set[int]:
        """All that serve the port."""
        return {each.pid for each in processes.processes_in([self._name])}

    def held(self) -> int:
        """Descriptors of the first process that it did not have when it began."""
        return self._descriptors() - self._at_first

    def _descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.server.pid}/fd").iterdir()))


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is to be done at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def site(namespaces: Throwaway, undo: ExitStack) -> Site:
    """A server with as many descriptors as this machine allows."""
    return Site(namespaces, undo, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@pytest.fixture
def small(namespaces: Throwaway, undo: ExitStack) -> Site:
    """A server with few descriptors."""
    return Site(namespaces, undo, FEW)


@pytest.fixture
def certificate() -> Iterator[Path]:
    """The server's certificate with its key, where a server that has given up root finds it."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "cache.pem")
        path.parent.chmod(0o755)
        AUTHORITY.issue_cert(HOSTNAME).private_key_and_cert_chain_pem.write_to_path(str(path))
        yield path


@pytest.fixture
def secure(namespaces: Throwaway, undo: ExitStack, certificate: Path) -> Site:
    """A server with a certificate."""
    return Site(namespaces, undo, resource.getrlimit(resource.RLIMIT_NOFILE)[1], certificate)


def _read(client: socket.socket) -> str:
    """The body of one answer."""
    received = b""
    while b"client: " not in received or not received.endswith(b"\n"):
        chunk = client.recv(4096)
        assert chunk, f"the connection ended after {received!r}"
        received += chunk
    return received.decode().split("\r\n\r\n")[1]


def _page(client: socket.socket) -> str:
    host, port = client.getsockname()
    return f"server: cache\nhostname: {HOSTNAME}\nclient: {host}:{port}\n"


def test_a_conversation(site: Site) -> None:
    """One connection gets a page for each request, sent whole or in pieces."""
    client = site.connect()
    for pieces in ((GET,), (GET[:7], GET[7:-1], GET[-1:]), (GET,)):
        for piece in pieces:
            client.sendall(piece)
        assert _read(client) == _page(client)


def test_the_last_request(site: Site) -> None:
    """After the answer to its last request the client reads the end of the connection."""
    client = site.connect()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert _read(client) == _page(client)
    assert client.recv(1) == b""


def test_half_close(site: Site) -> None:
    """A client that has said all gets its complete answer, and then the end."""
    client = site.connect()
    client.sendall(GET)
    client.shutdown(socket.SHUT_WR)
    assert _read(client) == _page(client)
    assert client.recv(1) == b""


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a RST, tcp(7)
    client.close()


@pytest.mark.parametrize("end", [socket.socket.close, _reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("said", [b"", GET, GET[:5]], ids=["silent", "answered", "half a request"])
def test_the_end_frees_the_descriptor(site: Site, end: Callable[[socket.socket], None], said: bytes) -> None:
    """A FIN and a RST give the server its descriptor back, whatever was said before."""
    clients = [site.connect() for _ in range(100)]
    assert eventually(lambda: site.held() == 100)
    for client in clients:
        client.sendall(said)
        end(client)
    assert eventually(lambda: site.held() == 0)


def _ask_without_end(client: socket.socket) -> None:
    while True:
        client.sendall(GET * 1000)


def test_a_client_that_reads_nothing(site: Site) -> None:
    """A client that asks and asks and reads no answer is let go, and everybody else is served."""
    greedy = site.connect()
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        _ask_without_end(greedy)
    client = site.connect()
    client.sendall(GET)
    assert _read(client) == _page(client)


def test_more_connections_than_descriptors(small: Site) -> None:
    """More connections than a process may have descriptors are held by several, and each of them is answered."""
    clients = [small.connect() for _ in range(3 * FEW)]
    for client in clients:
        client.sendall(GET)
    for client in clients:
        assert _read(client) == _page(client)
    assert len(small.processes()) > 3
    assert small.held() < FEW


def test_descriptors_are_used_again(small: Site) -> None:
    """When connections end there is room for as many others, and no further process."""
    clients = [small.connect() for _ in range(50)]
    for client in clients:
        client.sendall(GET)
        assert _read(client) == _page(client)
    there = small.processes()
    for client in clients:
        client.close()
    assert eventually(lambda: small.held() == 0)
    for _ in range(10):
        client = small.connect()
        client.sendall(GET)
        assert _read(client) == _page(client)
        client.close()
    assert small.processes() == there
    assert len(there) == 2


@pytest.mark.parametrize("name", ["terminate", "kill"])
def test_all_end_with_the_server(small: Site, name: str) -> None:
    """When the server ends, whatever ends it, all who share its port end too, and so do the connections."""
    clients = [small.connect() for _ in range(2 * FEW)]
    for client in clients:
        client.sendall(GET)
        assert _read(client) == _page(client)
    assert len(small.processes()) > 2
    getattr(small.server, name)()
    small.server.wait(10)
    assert eventually(lambda: not small.processes())
    assert [client.recv(1) for client in clients] == [b""] * len(clients)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _trusting(hostname: str = HOSTNAME) -> tuple[ssl.SSLContext, str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    return context, hostname


def _secured(client: socket.socket, hostname: str = HOSTNAME) -> ssl.SSLSocket:
    context, name = _trusting(hostname)
    return context.wrap_socket(client, server_hostname=name)


def test_https_beside_http(secure: Site, undo: ExitStack) -> None:
    """On one port a client that speaks TLS gets its pages over TLS, one after another, and another without."""
    client, plain = undo.enter_context(_secured(secure.connect())), secure.connect()
    for _ in range(2):
        for each in (client, plain):
            each.sendall(GET)
            assert _read(each) == _page(each)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert _read(client) == _page(client)
    assert client.recv(1) == b""


def test_a_hello_byte_by_byte(secure: Site) -> None:
    """The handshake is made in whatever pieces it comes, as is the request after it."""
    context, hostname = _trusting()
    client, session = secure.connect(), Session(context, hostname)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = session.receive(b"")
    while b"client: " not in received:
        for byte in session.records():
            client.send(bytes([byte]))
        if session.established and not received:
            session.send(GET)
            for byte in session.records():
                client.send(bytes([byte]))
        received += session.receive(client.recv(4096))
    assert received.decode().endswith(_page(client))


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x00\x05\x02", b"\x16\x02", b"*1\r\n", b"GET\r\n"])
def test_neither_protocol(secure: Site, said: bytes) -> None:
    """Who says what is neither TLS nor HTTP reads the end of the connection at once, and no answer."""
    client = secure.connect()
    client.sendall(said)
    assert client.recv(1) == b""


def test_half_a_hello(secure: Site) -> None:
    """A connection that has begun as TLS does is waited for, and its end frees the descriptor."""
    client = secure.connect()
    client.sendall(b"\x16\x03")
    other = secure.connect()
    other.sendall(GET)
    assert _read(other) == _page(other)
    assert secure.held() == 2
    client.close()
    assert eventually(lambda: secure.held() == 1)


def test_inside_tls_it_is_http(secure: Site, undo: ExitStack) -> None:
    """Who speaks another protocol inside of TLS is let go at once, too."""
    client = undo.enter_context(_secured(secure.connect()))
    client.sendall(b"*1\r\n$4\r\nPING\r\n")
    assert client.recv(1) == b""


def test_a_client_that_does_not_trust(secure: Site) -> None:
    """A client that refuses the certificate ends its connection, and the server has the descriptor back."""
    client = secure.connect()
    with pytest.raises(ssl.SSLCertVerificationError):
        _secured(client, "store.example.com")
    assert eventually(lambda: secure.held() == 0)


def test_another_certificate(secure: Site, undo: ExitStack, certificate: Path) -> None:
    """A certificate that is replaced is shown from the next connection on."""
    undo.enter_context(_secured(secure.connect()))
    replaced = certificate.with_name("new.pem")
    AUTHORITY.issue_cert("renamed.example.com").private_key_and_cert_chain_pem.write_to_path(str(replaced))
    replaced.replace(certificate)
    client = undo.enter_context(_secured(secure.connect(), "renamed.example.com"))
    client.sendall(GET)
    assert _read(client) == _page(client)


def test_no_certificate(site: Site) -> None:
    """A server without a certificate lets go at once who speaks TLS."""
    with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError)):  # as the version of OpenSSL has it
        _secured(site.connect())


# ── Datagrams and frames ────────────────────────────────────────────────────────────────────────────────────


def test_a_burst_of_datagrams_waits(site: Site) -> None:
    """Thousands of datagrams that come while the server is busy are all answered when it has time."""
    clients = [site.echo() for _ in range(100)]
    site.server.send_signal(signal.SIGSTOP)
    for number in range(50):
        for client in clients:
            client.send(b"%d" % number)
    site.server.send_signal(signal.SIGCONT)
    for client in clients:
        assert [client.recv(100) for _ in range(50)] == [b"%d" % number for number in range(50)]


def _link(namespaces: Throwaway) -> VethPair:
    """A server's and a client's namespace, where the kernels leave marked frames to the rings."""
    pair = namespaces.pair()
    for port, address in ((pair.a, "10.0.0.1/24"), (pair.b, "10.0.0.2/24")):
        add_address(namespaces, Address(port.namespace, port.interface, IPv4Interface(address)))
        nft.apply_ruleset(namespaces, ring_owns_marked(port.namespace))
    wait_until_up(namespaces, (pair.a.namespace, pair.b.namespace))
    return pair


def _syns(pair: VethPair, first_port: int, count: int) -> f.Batch:
    """The engine's SYNs from ports in a row."""
    link = Ether(src=pair.b.mac, dst=pair.a.mac)
    syn = link / IP(src="10.0.0.2", dst="10.0.0.1", tos=f.ENGINE_TOS) / TCP(dport=PORT, flags="S")
    batch = np.tile(np.frombuffer(bytes(syn), np.uint8), (count, 1))
    f.u16(batch, f.SOURCE_PORT)[:] = np.arange(first_port, first_port + count)
    return f.seal(batch, f.TCP)


def _syn_acks(ring: Ring) -> int:
    batch, _ = ring.receive()
    return int((batch[:, f.FLAGS] == f.SYN | f.ACK).sum()) if len(batch) else 0


def test_two_owners_at_once(namespaces: Throwaway, undo: ExitStack) -> None:
    """While thousands of real clients come and go the ring answers every SYN of the engine."""
    pair = _link(namespaces)
    spec = ServerSpec(pair.a.interface, (IPv4Address("10.0.0.1"),), PORT, "cache", HOSTNAME)
    server = undo.enter_context(_start(namespaces[pair.a.namespace], spec, FEW))
    undo.callback(server.kill)
    inside = namespaces[pair.b.namespace]
    ring = undo.enter_context(inside.run(Ring, pair.b.interface))
    for turn in range(20):
        ring.send(_syns(pair, 1000 + 100 * turn, 100))
        for _ in range(100):
            inside.run(socket.create_connection, ("10.0.0.1", PORT), 5.0).close()
    answers = 0
    while answers < 2000 and select.select([ring], [], [], 5.0)[0]:
        answers += _syn_acks(ring)
    assert answers == 2000
