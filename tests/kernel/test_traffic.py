"""The traffic processes on a real link.

    fn ───┐
    res ──┼── net (bridge)
    srv ──┘

The clients' addresses, 10.78.0.0 onwards, belong to nobody's kernel; the server is their gateway. Each kernel
drops marked frames; the server's counts them first, by their flags.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.support.labs import eventually
from tests.support.machine import require_machine
from traffic.result import EngineResult
from traffic.spec import Arrivals, BurstSpec, EniPath, FleetSpec, ResolverSpec, ServerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
HOSTS = {"fn": 2, "res": 3, "srv": 4}
HOSTNAME, PORT = "cache.example.com", 8080
RESOLVER, SERVER = IPv4Address("10.77.0.3"), IPv4Address("10.77.0.4")

DROP_MARKED = """
table ip engine {
    counter syns { }
    counter fins { }
    counter rsts { }
    chain marked {
        type filter hook prerouting priority raw; policy accept;
        ip dscp 23 tcp flags & (syn | ack) == syn counter name syns
        ip dscp 23 tcp flags & fin == fin counter name fins
        ip dscp 23 tcp flags & rst == rst counter name rsts
        ip dscp 23 drop
    }
}
"""


def _mac(host: str) -> str:
    return f"02:00:00:00:77:{HOSTS[host]:02x}"


class Traffic:
    """One traffic process and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.stdin, self.stdout = _open(process.stdin), _open(process.stdout)

    def hear(self, event: str) -> dict[str, Any]:
        """The next event of this kind."""
        for line in self.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["event"] == event:
                return said
        raise AssertionError(f"the process ended with {self.process.wait()} before it said {event}")

    def tell(self, order: str) -> None:
        """One line on its standard input."""
        self.stdin.write(order + "\n")
        self.stdin.flush()

    def status(self) -> int:
        """Its exit status."""
        return self.process.wait(timeout=60)


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


class Bed:
    """The namespaces of the drawing; processes started in them end with the bed."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self._prefix = f"labtest-{os.getpid()}-"
        for name in ("net", *HOSTS):
            _ip("netns", "add", self._prefix + name)
            undo.callback(_ip, "netns", "del", self._prefix + name)
        self._ip("net", "link", "add", "bridge", "up", "type", "bridge")
        for host in HOSTS:
            self._attach(host)

    def _attach(self, host: str) -> None:
        peer = ("peer", "name", host, "netns", self._prefix + "net")
        self._ip(host, "link", "add", "eth0", "address", _mac(host), "type", "veth", *peer)
        self._ip("net", "link", "set", host, "master", "bridge", "up")
        self._ip(host, "link", "set", "eth0", "up")
        self._ip(host, "address", "add", f"10.77.0.{HOSTS[host]}/24", "dev", "eth0")
        self.run(host, "nft", "-f", "-", text=DROP_MARKED)

    def _ip(self, namespace: str, *arguments: str) -> None:
        _ip("-n", self._prefix + namespace, *arguments)

    def run(self, host: str, *command: str, text: str = "") -> str:
        """What a command prints that runs on a host."""
        inside = ("ip", "netns", "exec", self._prefix + host, *command)
        return subprocess.run(inside, input=text, check=True, capture_output=True, text=True).stdout

    def set_link(self, host: str, state: str) -> None:
        """Takes a host's link down, or up."""
        self._ip(host, "link", "set", "eth0", state)

    def unplug(self, host: str) -> None:
        """Removes a host's link."""
        self._ip(host, "link", "del", "eth0")

    def counters(self) -> dict[str, int]:
        """Marked segments that reached the server, by flag."""
        listing = json.loads(self.run("srv", "nft", "-j", "list", "counters", "table", "ip", "engine"))
        found = (entry["counter"] for entry in listing["nftables"] if "counter" in entry)
        return {counter["name"]: counter["packets"] for counter in found}

    def start(self, host: str, verb: str, spec: BurstSpec | ResolverSpec | ServerSpec) -> Traffic:
        """A traffic process on a host."""
        command = ("ip", "netns", "exec", self._prefix + host, sys.executable, "-m", "traffic")
        process = subprocess.Popen(
            (*command, verb, spec.to_json()),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._undo.callback(_end, process)
        return Traffic(process)

    def serve_names(self) -> Traffic:
        """The resolver, ready."""
        resolver = self.start("res", "resolver", ResolverSpec("eth0", RESOLVER, {HOSTNAME: (str(SERVER),)}))
        resolver.hear("ready")
        return resolver

    def serve(self) -> Traffic:
        """The server, ready."""
        server = self.start("srv", "server", ServerSpec("eth0", (SERVER,), PORT, "cache", HOSTNAME))
        server.hear("ready")
        return server

    def serve_both(self) -> tuple[Traffic, Traffic]:
        """Resolver and server, ready."""
        return self.serve_names(), self.serve()

    def burst(self, connections: int, **options: Any) -> Traffic:
        """A burst, begun."""
        path = EniPath("eni-a", _mac("srv"), IPv4Address("10.78.0.0"), 1000)
        fleet = FleetSpec("eth0", _mac("fn"), (path,))
        spec = BurstSpec((fleet,), RESOLVER, _mac("res"), HOSTNAME, PORT, connections, **options)
        return self.start("fn", "burst", spec)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipes
        process.kill()


@contextmanager
def _bed() -> Iterator[Bed]:
    with ExitStack() as undo:
        yield Bed(undo)


@pytest.fixture
def bed() -> Iterator[Bed]:
    """Namespaces that are gone after the test; skipped, with the reason, where this machine cannot make them."""
    require_machine()
    with _bed() as made:
        yield made


def _result(burst: Traffic) -> EngineResult:
    return EngineResult.from_json(burst.hear("connected")["result"])


def test_a_burst_connects_and_closes(bed: Bed) -> None:
    """2,000 invocations ask, connect and hold; on `close` each connection ends with a FIN and its answer."""
    bed.serve_both()
    burst = bed.burst(2000)
    result = _result(burst)
    assert (result.dns.asked, result.dns.answered, result.dns.failed) == (2000, 2000, 0)
    assert (result.tcp.attempted, result.tcp.established, result.tcp.syn_retransmissions) == (2000, 2000, 0)
    assert (result.drop_threshold, result.ring.dropped, len(result.timing.tenths_per_s)) == (None, 0, 10)
    burst.tell("close")
    assert burst.hear("closed")["closed"] == 2000
    assert burst.status() == 0
    assert bed.counters() == {"syns": 2000, "fins": 2000, "rsts": 0}


@pytest.mark.parametrize(("schedule", "syns"), [("classic", 2), ("linear", 3)])
def test_a_silent_server(bed: Bed, schedule: str, syns: int) -> None:
    """Without a server every connection times out, after exactly the schedule's number of SYNs."""
    bed.serve_names()
    burst = bed.burst(500, connect_timeout_s=2.5, syn_schedule=schedule)
    result = _result(burst)
    assert (result.tcp.timed_out, result.tcp.established, result.drop_threshold) == (500, 0, 0)
    assert bed.counters()["syns"] == 500 * syns == 500 + result.tcp.syn_retransmissions


def test_a_silent_resolver(bed: Bed) -> None:
    """Without a resolver every invocation fails before it calls anybody."""
    burst = bed.burst(500, connect_timeout_s=1.5)
    result = _result(burst)
    assert (result.dns.failed, result.tcp.attempted) == (500, 0)
    assert bed.counters()["syns"] == 0


def test_thirty_thousand_questions(bed: Bed) -> None:
    """30,000 questions at once are all answered at the first try, and no ring drops a frame."""
    bed.serve_both()
    result = _result(bed.burst(30_000))
    assert (result.dns.answered, result.tcp.established) == (30_000, 30_000)
    assert (result.ring.received, result.ring.dropped) == (60_000, 0)


def _end_of_input(burst: Traffic) -> None:
    burst.stdin.close()


def _terminated(burst: Traffic) -> None:
    burst.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "abort",
    [lambda burst: burst.tell("abort"), _end_of_input, _terminated],
    ids=["order", "end of input", "SIGTERM"],
)
def test_abort_resets(bed: Bed, abort: Callable[[Traffic], None]) -> None:
    """An order, the end of the input and SIGTERM all reset every connection; Ctrl-C does not."""
    bed.serve_both()
    burst = bed.burst(300)
    _result(burst)
    burst.process.send_signal(signal.SIGINT)
    abort(burst)
    assert burst.hear("aborted")["resets"] == 300
    assert burst.status() == 0
    assert bed.counters()["rsts"] == 300


def test_abort_in_the_middle(bed: Bed) -> None:
    """A burst that is aborted before it is over resets what is half-open, and says so instead of a result."""
    bed.serve_names()
    burst = bed.burst(300)
    while burst.hear("progress")["attempted"] < 300:
        pass
    burst.tell("abort")
    assert burst.hear("aborted")["resets"] == 300
    assert burst.status() == 0
    assert bed.counters()["rsts"] == 300


def test_leave_leaves(bed: Bed) -> None:
    """On `leave` the process ends and its connections stay: no FIN, no RST."""
    bed.serve_both()
    burst = bed.burst(300)
    _result(burst)
    burst.tell("leave")
    assert burst.status() == 0
    assert bed.counters() == {"syns": 300, "fins": 0, "rsts": 0}


def test_the_rate(bed: Bed) -> None:
    """A rate of 400 a second stretches 200 invocations over half a second."""
    bed.serve_both()
    result = _result(bed.burst(200, arrivals=Arrivals(400.0)))
    assert result.tcp.established == 200
    assert result.timing.connect_phase_s >= 0.49


def test_dig(bed: Bed) -> None:
    """While a burst holds its connections, dig gets answers over UDP and TCP from the same address."""
    require_machine("dig")
    bed.serve_both()
    _result(bed.burst(1000))
    for transport in ("+notcp", "+tcp"):
        ask = ("dig", "+short", "+tries=1", transport, f"@{RESOLVER}")
        assert bed.run("fn", *ask, HOSTNAME.upper()) == f"{SERVER}\n"
        assert bed.run("fn", *ask, HOSTNAME, "AAAA") == ""
    assert "NXDOMAIN" in bed.run("fn", "dig", f"@{RESOLVER}", "nothing.example.com")


def test_curl(bed: Bed) -> None:
    """While a burst holds its connections, curl gets the page that names the server and the client."""
    require_machine("curl")
    bed.serve_both()
    _result(bed.burst(1000))
    url = f"http://{SERVER}:{PORT}/"
    pages = bed.run("fn", "curl", "--silent", "--max-time", "5", "--local-port", "45678", url, url)
    assert pages == f"server: cache\nhostname: {HOSTNAME}\nclient: 10.77.0.2:45678\n" * 2


def test_services_outlive_their_reader(bed: Bed) -> None:
    """A server whose output nobody reads any more goes on, and ends with status 0 at SIGTERM."""
    services = bed.serve_both()
    for service in services:
        service.stdout.close()
    assert _result(bed.burst(100)).tcp.established == 100
    for service in services:
        service.process.terminate()
        assert service.status() == 0


def test_a_missing_interface(bed: Bed) -> None:
    """A process that cannot open its ring says why and exits with status 1."""
    server = bed.start("srv", "server", ServerSpec("eth7", (SERVER,), PORT, "cache", HOSTNAME))
    assert "No such device" in server.hear("error")["message"]
    assert server.status() == 1


def test_services_sleep_while_their_link_is_down(bed: Bed) -> None:
    """Poll reports the error of a link that went down until it is read; when the link is up, all is as before."""
    services = bed.serve_both()
    for host in ("res", "srv"):
        bed.set_link(host, "down")
    for service in services:
        assert eventually(partial(_is_idle, service.process.pid))
    for host in ("res", "srv"):
        bed.set_link(host, "up")
    assert _result(bed.burst(100)).tcp.established == 100


def test_services_end_with_their_interface(bed: Bed) -> None:
    """Nobody can reach what is left of them."""
    services = bed.serve_both()
    for host, service in zip(("res", "srv"), services, strict=True):
        bed.unplug(host)
        assert "the interface eth0 is gone" in service.hear("error")["message"]
        assert service.status() == 1


def _is_idle(pid: int) -> bool:
    """Whether a process has used no processor for a while."""
    before = _cpu_ticks(pid)
    time.sleep(0.3)
    return _cpu_ticks(pid) == before


def _cpu_ticks(pid: int) -> list[str]:
    """User and system time (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
