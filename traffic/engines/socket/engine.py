"""The socket engine: real connections, made by the kernel's own TCP, as many processes as their descriptors need.

What it reports of SYNs and their retransmissions is what the kernel did (TCP_INFO). Each process makes a share of the
connections (`shares`), all send their SYNs in turn (`turns`), and a coordinator adds up their counts (`workers`).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
import resource
import sys
import time
from typing import TYPE_CHECKING

from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.commands import Command, Commands
from traffic.clients.pacing import Pace
from traffic.engines.socket.descriptors import SharedAccount, shared_descriptors
from traffic.engines.socket.queries import OwnQueries, SharedQueries
from traffic.engines.socket.shares import shares
from traffic.engines.socket.sockets import Sources
from traffic.engines.socket.tls import TlsTransport
from traffic.engines.socket.transports import TcpTransport, UdpTransport
from traffic.engines.socket.turns import Turns
from traffic.engines.socket.workers import Coordinator, Parent, PipeReporter, Worker, start_worker
from traffic.fleet import Fleet
from traffic.namespaces import namespaces_of
from traffic.privileges import Capability, give_up
from traffic.resources import per_process
from traffic.schedule import LINEAR_TIMEOUTS, syn_retransmissions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from traffic.namespaces import Namespace
    from traffic.spec import BurstSpec, SynSchedule

__all__ = ["run"]

_QUESTIONS = Pace(1024, 0.05)
"""Unanswered queries of all processes: what a name server in Python answers within the clients' patience."""
_CALLS_AT_ONCE = 640
_TIMERS_S = ((4.0, 0.28), (0.0, 0.1))
"""How coarse the kernel's timers of such a length are, and a little more (at 250 Hz, kernel/time/timer.c): SYNs that
went out in that time are retransmitted at once. Of more than 1,000 packets at once (net.core.netdev_max_backlog) the
kernel drops the rest before they reach the network, so no more unanswered SYNs may go out in that time."""

_SETTING = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
"""How many first retransmissions of a SYN follow at the same interval (ip-sysctl.rst)."""


def run(spec: BurstSpec) -> None:
    """Fire one burst and stay until it is over."""
    if spec.destinations is not None:
        raise ValueError("a real socket's SYN is followed by the kernel's ACK; SYNs alone are the packet engine's")
    namespaces = namespaces_of(spec)
    for namespace in namespaces:
        with namespace:
            _set_schedule(spec.syn_schedule)
    most = _most_connections()
    if len(spec.fleets) > 1 and spec.connections > most:  # which processes could not take turns among them
        raise ValueError(f"{spec.connections} connections of several functions are more than one process has: {most}")
    parts = shares(spec, most)
    fleet, turns, epoch_s = Fleet(spec), Turns(len(parts)), time.monotonic()
    questions, calls = (
        Pace(max(pace.at_once // len(parts), 1), pace.patience_s) for pace in (_QUESTIONS, _calls(spec))
    )
    descriptors = None if spec.descriptors is None else shared_descriptors(fleet.environments_used, spec.descriptors)
    workers: list[Worker] = []
    for turns.process, part in enumerate(parts):
        parent = start_worker(workers)
        if parent is not None:  # this is the new process
            _work(part, fleet, namespaces, turns, descriptors, questions, calls, epoch_s, parent)
            return
    commands = Commands(sys.stdin.fileno())
    commands.handle_signals()
    give_up()
    Coordinator(workers, spec.offered, commands, epoch_s).run()


def _calls(spec: BurstSpec) -> Pace:
    times_s = (0.0, *syn_retransmissions(spec.syn_schedule, spec.connect_timeout_s))
    longest_s = max((after - before for before, after in pairwise(times_s)), default=0.0)
    return Pace(_CALLS_AT_ONCE, next(coarse_s for timer_s, coarse_s in _TIMERS_S if longest_s >= timer_s))


def _set_schedule(schedule: SynSchedule) -> None:
    """A setting of the network namespace; before Linux 6.5 there is only the classic schedule, and no setting."""
    try:
        _SETTING.write_text(str(LINEAR_TIMEOUTS[schedule]), encoding="utf-8")
    except FileNotFoundError:
        if schedule != "classic":
            raise OSError(
                f"this kernel retransmits SYNs by the classic schedule only; {schedule} needs Linux 6.5 or later, "
                "or the packet engine"
            ) from None


def _most_connections() -> int:
    """How many one process makes: as many as it may have descriptors for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = per_process(hard)
    if not most:
        raise ValueError(f"{hard} descriptors per process are too few for real connections; ulimit -Hn tells")
    return most


def _needed(spec: BurstSpec) -> Iterator[Capability]:
    """Each connection's socket is made and bound when its turn comes, in the namespace of its function."""
    yield Capability.NET_BIND_SERVICE
    if any(fleet.namespace for fleet in spec.fleets):
        yield Capability.SYS_ADMIN


def _transport_of(spec: BurstSpec) -> type[UdpTransport | TcpTransport]:
    if spec.protocol == "udp":
        return UdpTransport
    return TcpTransport if spec.authority is None else TlsTransport


def _work(  # noqa: PLR0917 -- all that a worker has
    spec: BurstSpec,
    fleet: Fleet,
    namespaces: Sequence[Namespace],
    turns: Turns,
    descriptors: NDArray[np.int64] | None,
    questions: Pace,
    calls: Pace,
    epoch_s: float,
    parent: Parent,
) -> None:
    """Make a share of the burst, and stay if that is the command; the coordinator learns what goes wrong."""
    commands = Commands(parent.commands)
    commands.handle_signals()
    try:
        connections = connections_of(spec, repeats=spec.protocol == "udp")
        sources = Sources(fleet, len(connections), namespaces)
        apart = spec.questions_apart
        queries = (
            OwnQueries(spec, connections, sources, turns) if apart else SharedQueries(spec, connections, namespaces)
        )
        transport = _transport_of(spec)(spec, connections, sources, queries, turns)
        handshakes = transport if isinstance(transport, TlsTransport) else None
        account = None if descriptors is None else SharedAccount(connections.counts, sources, turns, descriptors)
        client = Client(
            spec,
            connections,
            transport,
            handshakes=handshakes,
            descriptors=account,
            questions=questions,
            calls=calls,
        )
        burst = Burst(
            spec, client, transport, commands, epoch_s=epoch_s, emit=parent.emit, reporter=PipeReporter(parent)
        )
        give_up(*_needed(spec))
        burst.run()
    except (OSError, ValueError) as error:
        parent.emit("error", message=str(error))
        raise
    if commands.current is Command.LEAVE:
        parent.stay()
