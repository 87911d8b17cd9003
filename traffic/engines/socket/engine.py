"""The socket engine: real connections, made by the kernel's own TCP, as many processes as their descriptors need.

What it reports of SYNs and their retransmissions is what the kernel did (TCP_INFO). Each process makes a share of the
connections (`shares`), all send their SYNs in turn (`turnstile`), and one adds up what they saw (`crew`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
import resource
import sys
import time
from typing import TYPE_CHECKING

from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.orders import Order, Orders
from traffic.clients.pacing import Pace
from traffic.engines.socket.crew import Coordinator, Post, Tidings, Worker, hire
from traffic.engines.socket.flows import Flows
from traffic.engines.socket.questions import Apart, Questions
from traffic.engines.socket.shares import shares
from traffic.engines.socket.streams import Streams
from traffic.engines.socket.table import Seats
from traffic.engines.socket.turnstile import Gate, Turnstile
from traffic.fleet import Fleet
from traffic.means import per_process
from traffic.schedule import LINEAR_TIMEOUTS, syn_retransmissions

if TYPE_CHECKING:
    from traffic.spec import BurstSpec, SynSchedule

__all__ = ["run"]

_QUESTIONS = Pace(1024, 0.05)
"""Of all processes: what a name server in Python answers within the clients' patience."""
_CALLS_AT_ONCE = 640
_TIMERS_S = ((4.0, 0.28), (0.0, 0.1))
"""How coarse the kernel's timers of such a length are, and a little more (at 250 Hz, kernel/time/timer.c): SYNs that
went out in that time are retransmitted in one go. Of more than 1,000 packets in one go (net.core.netdev_max_backlog)
the kernel drops the rest before they reach the network, so no more SYNs that nobody answers go out in that time."""

_SETTING = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
"""How many first retransmissions of a SYN follow at the same interval (ip-sysctl.rst)."""


def run(spec: BurstSpec) -> None:
    """Fire one burst and stay until it is over."""
    if spec.destination is not None:
        raise ValueError("a real socket's SYN is followed by the kernel's ACK; SYNs alone are the packet engine's")
    _set_schedule(spec.syn_schedule)
    parts = shares(spec, _most_connections())
    turnstile, epoch_s = Turnstile(len(parts)), time.monotonic()
    crew: list[Worker] = []
    for place, part in enumerate(parts):
        post = hire(crew)
        if post is not None:  # this is the new process
            questions, calls = (_part(pace, len(parts)) for pace in (_QUESTIONS, _calls(spec)))
            work = _Work(part, Fleet(spec), turnstile.gate(place), questions, calls, epoch_s)
            work.do(post)
            return
    orders = Orders(sys.stdin.fileno())
    orders.heed_signals()
    Coordinator(crew, spec.offered, orders, epoch_s).run()


def _calls(spec: BurstSpec) -> Pace:
    times_s = (0.0, *syn_retransmissions(spec.syn_schedule, spec.connect_timeout_s))
    longest_s = max((after - before for before, after in pairwise(times_s)), default=0.0)
    return Pace(_CALLS_AT_ONCE, next(coarse_s for timer_s, coarse_s in _TIMERS_S if longest_s >= timer_s))


def _part(pace: Pace, parts: int) -> Pace:
    return Pace(max(pace.at_once // parts, 1), pace.patience_s)


def _set_schedule(schedule: SynSchedule) -> None:
    """A setting of the network namespace; before Linux 6.5 there is only the classic schedule, and no setting."""
    try:
        _SETTING.write_text(str(LINEAR_TIMEOUTS[schedule]))
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What one process has to do."""

    spec: BurstSpec
    fleet: Fleet
    """The whole burst's."""
    gate: Gate
    questions: Pace
    calls: Pace
    epoch_s: float

    def do(self, post: Post) -> None:
        """Do it, and stay if that is the order; of what goes wrong the coordinator hears."""
        orders = Orders(post.orders)
        orders.heed_signals()
        try:
            self._burst(orders, post).run()
        except (OSError, ValueError) as error:
            post.say("error", message=str(error))
            raise
        if orders.current is Order.LEAVE:
            post.stay()

    def _burst(self, orders: Orders, post: Post) -> Burst:
        spec, kind = self.spec, Flows if self.spec.protocol == "udp" else Streams
        connections = connections_of(spec, repeats=kind.repeats)
        seats = Seats(self.fleet, len(connections))
        questions = Apart(spec, connections, seats, self.gate) if spec.questions_apart else Questions(spec)
        medium = kind(spec, connections, seats, questions=questions, gate=self.gate)
        client = Client(spec, connections, medium, questions=self.questions, calls=self.calls)
        return Burst(spec, client, medium, orders, epoch_s=self.epoch_s, say=post.say, account=Tidings(post))
