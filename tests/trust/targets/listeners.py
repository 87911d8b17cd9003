"""Sockets that anybody may connect to: the embedded web server with its TLS, and the endpoint for Prometheus.

Both listen on the loopback address of a network namespace that only this process has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
import ctypes
import errno
from functools import cache
import io
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
import socket
import ssl
import subprocess
from tempfile import TemporaryDirectory
import time

import trustme

from lab.metrics.exposition import Observation, serve
from lab.nodes.build import build
from tests.support.runs import sample
from tests.support.topologies import shipped
from tests.trust.mutation import bytes_changed
from tests.trust.targets.target import Reader, Target
from traffic.servers.listener import Listener
from traffic.servers.listeners import listen
from traffic.spec import ServerSpec

__all__ = ["SCRAPES", "SERVER"]

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_HOSTNAME, _LOOPBACK = "cache.example.com", "127.0.0.1"
_PLAIN, _TLS = b"p", b"t"
"""The first byte of an input: whether the rest is sent as it is, or within TLS."""
_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nPOST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /metrics?name[]=lab_nat_gateway_active_connections HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n",
    b"GET / HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0, text/plain;version=2\r\n\r\n",
)
_SIGNS = (
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b"\r\nContent-Length: ",
    b"\r\nContent-Length: " + b"9" * 5_000,
    b"%00",
    b"\xff",
    b" " * 300,
    b"?name[]=",
    b"&",
)
_WITHIN_S = 20


def _changed(random: Random, data: bytes) -> bytes:
    """Bytes changed, and signs of HTTP put among them; the first byte stays."""
    changed = bytes_changed(random, data[1:])
    if random.random() < 0.5:
        at = random.randrange(len(changed) + 1)
        changed = changed[:at] + random.choice(_SIGNS) * random.choice((1, 1, 2, 90)) + changed[at:]
    return data[:1] + changed


def _server_seeds() -> Sequence[bytes]:
    hello, _ = _begun()
    return [_PLAIN + hello, *(kind + request for kind in (_PLAIN, _TLS) for request in _REQUESTS)]


def _begun() -> tuple[bytes, tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]]:
    """A ClientHello, and the client that it is of."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _client().wrap_bio(received, sent, server_hostname=_HOSTNAME)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read(), (client, received, sent)


@cache
def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def _server() -> Iterator[Reader]:
    _have_own_loopback()
    with TemporaryDirectory() as directory:
        certificate = Path(directory, "cache.pem")
        trustme.CA().issue_cert(_HOSTNAME).private_key_and_cert_chain_pem.write_to_path(certificate)
        spec = ServerSpec("lo", (IPv4Address(_LOOPBACK),), 443, "cache", _HOSTNAME, str(certificate))
        listener = listen(spec)

        def read(data: bytes) -> None:
            with socket.create_connection((_LOOPBACK, 443)) as client:
                content = data[1:]
                if data[:1] == _TLS:
                    content = _within_tls(client, listener, content)
                _send(client, content)
                client.setblocking(False)  # noqa: FBT003
                _until_closed(client, listener)

        yield read


def _send(client: socket.socket, content: bytes) -> None:
    """Everything, and no more after it; the server may have closed the connection meanwhile."""
    try:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
    except ConnectionError:
        pass
    except OSError as refused:
        if refused.errno != errno.ENOTCONN:
            raise


def _within_tls(client: socket.socket, listener: Listener, content: bytes) -> bytes:
    """The records of a content, after a handshake that the server has taken part in."""
    hello, (tls, received, sent) = _begun()
    client.sendall(hello)
    deadline = time.monotonic() + _WITHIN_S
    while True:
        assert time.monotonic() < deadline, "no handshake"
        listener.work()
        with suppress(BlockingIOError):
            received.write(client.recv(1 << 16, socket.MSG_DONTWAIT))
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
            break
    if content:
        tls.write(content)
    return sent.read()


def _until_closed(client: socket.socket, listener: Listener) -> None:
    """The server ends every connection whose client sends no more."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        listener.work()
        with suppress(BlockingIOError):
            try:
                if not client.recv(1 << 16):
                    return
            except ConnectionError:
                return
    raise AssertionError("the connection is not closed")


def _have_own_loopback() -> None:
    """Leave the machine's network for an empty one, of which only this process is a part."""
    hosts = Path("/proc/thread-self/ns/net").readlink()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    assert Path("/proc/thread-self/ns/net").readlink() != hosts
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)


def _scrape_seeds() -> Sequence[bytes]:
    return [_PLAIN + request for request in _REQUESTS]


@contextmanager
def _scrapes() -> Iterator[Reader]:
    _have_own_loopback()
    plan = build(shipped("tiny"))
    serving = serve(lambda: Observation(plan.lab, plan.nat_nodes, plan.limiters, sample(1.0, 3)), 0)
    port = int(serving.url.split(":")[2].split("/")[0])

    def read(data: bytes) -> None:
        with (
            redirect_stderr(io.StringIO()) as said,
            suppress(ConnectionError),
            socket.create_connection((_LOOPBACK, port), timeout=_WITHIN_S) as client,
        ):
            _send(client, data[1:])
            while client.recv(1 << 16):
                pass
        assert not said.getvalue(), said.getvalue()

    try:
        yield read
    finally:
        serving.close()


SERVER = Target("server", "connections to the embedded web server, plain and TLS", _server_seeds, _changed, _server)
SCRAPES = Target("prometheus", "connections to the endpoint for Prometheus", _scrape_seeds, _changed, _scrapes)
