"""HTTPS in a lab: programs trust its servers without a flag, bursts make handshakes, and failures are told as such."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import socket
import ssl
import sys
import threading

import pytest
import trustme

from lab.diagnosis.verdict import judge
from lab.kernel.netns import Namespaces
from lab.lab import Lab
from tests.support.command import Ended, run_lab
from tests.support.labs import inside
from tests.support.machine import require_machine, require_other_users
from traffic.result import HELLO_IGNORED, HELLO_LOST, TlsCount

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
URL = "https://cache.example.com/"
ADDRESS = ("203.0.113.10", 443)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all tests of the embedded server."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-https") as made:
        yield made


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab whose server is a real program."""
    require_machine()
    path = tmp_path_factory.mktemp("real") / "real.yaml"
    path.write_text(TINY.read_text().replace("port: 443}", "port: 443, embedded: false}"))
    with Lab.up(path, name=f"test-{os.getpid()}-tls") as made:
        yield made


def _run(lab: Lab, *command: object) -> Ended:
    return run_lab("exec", "--lab", lab.name, "checkout", "--", *command)


_PROGRAMS = {
    "curl": ("curl", "-sS", "-m", 10, URL),
    "curl by address": ("curl", "-sS", "-m", 10, "https://203.0.113.10/"),
    "curl without TLS": ("curl", "-sS", "-m", 10, "http://cache.example.com:443/"),
    "urllib": (
        sys.executable,
        "-c",
        f"from urllib.request import urlopen; print(urlopen('{URL}', timeout=10).read().decode())",
    ),
    "node": ("node", "-e", f"fetch('{URL}').then(answer => answer.text()).then(console.log)"),
    "nobody's curl": ("setpriv", "--reuid", 65534, "--clear-groups", "curl", "-sS", "-m", 10, URL),
}


@pytest.mark.parametrize("name", _PROGRAMS)
def test_programs_trust_the_server(lab: Lab, name: str) -> None:
    """Programs get the page over HTTPS without a flag, also those that are not root's."""
    program = _PROGRAMS[name]
    require_machine(str(program[0]))
    if "setpriv" in program:
        require_other_users()
    ended = _run(lab, *program)
    assert ended.stderr == ""
    assert "server: cache\nhostname: cache.example.com\n" in ended.stdout


def test_a_connection_over_tls_is_kept(lab: Lab) -> None:
    """A second request over HTTPS takes the connection of the first."""
    require_machine("curl")
    ended = _run(
        lab, "curl", "-sS", "-m", 10, "-w", "%{num_connects}\n", "-o", "/dev/null", URL, "-o", "/dev/null", URL
    )
    assert ended.stdout.split() == ["1", "0"]


def test_a_certificate_follows_its_server(lab: Lab, tmp_path: Path) -> None:
    """A server that is called otherwise, in a lab that stays up, is trusted under its new name."""
    require_machine("curl")
    path = tmp_path / "renamed.yaml"
    path.write_text(TINY.read_text().replace("cache.example.com", "renamed.example.com"))
    Lab.up(path, name=lab.name, disruptive=True)
    try:
        assert (
            "hostname: renamed.example.com" in _run(lab, "curl", "-sS", "-m", 10, "https://renamed.example.com/").stdout
        )
    finally:
        Lab.up(TINY, name=lab.name, disruptive=True)


def test_a_burst(lab: Lab) -> None:
    """Every connection that the limit lets through has its handshake, and its requests go over TLS."""
    # The programs of other tests may have slots whose connections are closed and which are free in a moment.
    result = lab.burst(40, engine="socket", tls=True, requests_per_connection=2, connect_timeout_s=3, fresh=True)
    assert result.tls == TlsCount(30, 30, 0, {})
    assert (result.tcp.established, result.requests.answered, result.invocations.served) == (30, 60, 30)
    assert (result.bottleneck, result.disagreements) == ("nat_gateway", ())


@contextmanager
def _server(lab: Lab, serve: Callable[[socket.socket], None] | None = None) -> Iterator[None]:
    """Listen as the lab's real server, and `serve` each connection; without that nobody accepts any."""
    with Namespaces() as namespaces:
        listening = namespaces[lab.node("cache").namespace].run(socket.create_server, ADDRESS)
    with listening:
        accepting = threading.Thread(target=_accept, args=(listening, serve), daemon=True)
        if serve:
            accepting.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
    if serve:
        accepting.join()


def _accept(listening: socket.socket, serve: Callable[[socket.socket], None] | None) -> None:
    while serve:
        try:
            client, _ = listening.accept()
        except OSError:  # the test is over
            return
        with client:
            serve(client)


def _with_another_certificate() -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("cache.example.com").configure_cert(context)

    def serve(client: socket.socket) -> None:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(client, server_side=True)

    return serve


def _burst(lab: Lab, patience_s: float = 10) -> tuple[TlsCount | None, str]:
    result = lab.burst(10, engine="socket", tls=True, connect_timeout_s=patience_s)
    assert (result.tcp.established, result.tcp.timed_out) == (10, 0)
    assert result.disagreements == ()
    return result.tls, judge(result).headline


def test_a_silent_server(real: Lab) -> None:
    """A handshake that is never answered is told as that, and that the server's kernel has the ClientHello."""
    with _server(real):
        tls, headline = _burst(real, patience_s=1)
    assert tls == TlsCount(10, 0, 10, {HELLO_IGNORED: 10})
    assert headline == f"10 of 10 TLS handshakes failed: {HELLO_IGNORED}"


def test_a_hello_that_is_lost(real: Lab) -> None:
    """What drops ClientHellos on the way, and lets SYNs pass, is told from a silent server by the missing ACKs."""
    table = "table ip lossy { chain input { type filter hook input priority 0; meta length > 200 drop; }; }"
    inside(real, "cache", f"nft '{table}'")
    try:
        with _server(real):
            tls, _ = _burst(real, patience_s=1)
    finally:
        inside(real, "cache", "nft delete table ip lossy")
    assert tls == TlsCount(10, 0, 10, {HELLO_LOST: 10})


def test_another_certificate(real: Lab) -> None:
    """A certificate that the lab has not issued is refused, with OpenSSL's reason."""
    with _server(real, _with_another_certificate()):
        tls, _ = _burst(real)
    why = "the certificate is not accepted: unable to get local issuer certificate"
    assert tls == TlsCount(10, 0, 10, {why: 10})


def test_a_real_program_with_the_labs_certificate(real: Lab) -> None:
    """A real server may use the certificate that the lab has made for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"/run/lab/{real.name}/tls/cache.pem")
    kept = []
    with _server(real, lambda client: kept.append(context.wrap_socket(client, server_side=True))):
        tls, _ = _burst(real)
    for client in kept:
        client.close()
    assert tls == TlsCount(10, 10, 0, {})
