"""Numbers, each with the command that shows it with plain Linux tools, to be copied to a shell. Pure.

`nft` lists a set in full, 65,000 elements in a fraction of a second, so what is held is counted by `grep`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.burst.endings import NodeEndings
from lab.burst.lacking import Lacking
from lab.diagnosis.drops import cause_in_words
from lab.diagnosis.limits import LimitAccount
from lab.impair.faults import Faults, Impairment
from lab.kernel.invoker import in_sandbox, runnable
from lab.kernel.open_files import FullProcess
from lab.observe.limits import Limit
from lab.observe.samples import Sample
from lab.plan.objects import DropCounter
from lab.slots.counters import (
    ACTIVE,
    CLOSED,
    ESTABLISHED,
    FORGOTTEN,
    PORTS_NOT_FOUND,
    REFUSED_GROUP,
    RESET_HERE,
    SLOT_MASK,
    NatNode,
)

__all__ = [
    "Measurement",
    "live",
    "of_drop",
    "of_full_process",
    "of_half_open",
    "of_impairment",
    "of_lacking",
    "of_limit",
    "of_metered_node",
    "of_node_endings",
    "of_packets",
]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number, and the command that prints it."""

    node: str
    what: str
    value: int | None
    """What it prints; None where it shows what happens."""
    command: str


def of_limit(account: LimitAccount, counted: Sample | None) -> Iterator[Measurement]:
    """What a limit holds and has refused; of a run, counters are those at its end (`counted`)."""
    limit = account.limit
    node, names = limit.first.node, [limiter.refused_connections for limiter in limit.limiters]
    connections = limit.total(counted, lambda limiter: limiter.refused_connections) if counted else account.connections
    packets = limit.packets(counted) if counted else account.packets
    of = f" of {limit.first.client}" if limit.first.client else ""
    yield Measurement(node, f"connections{of} refused", connections, _sum(limit, names))
    packet_names = [limiter.refused_packets for limiter in limit.limiters]
    yield Measurement(node, f"{limit.drops}{of} refused", packets, _sum(limit, packet_names))
    yield Measurement(node, f"connections{of} held", limit.held(counted) if counted else account.held, _elements(limit))


def of_half_open(account: LimitAccount) -> Iterator[Measurement]:
    """How many of the slots of a lab that is up are half-open, by the states of conntrack's entries."""
    if account.fill and account.fill.half_open:
        limit, slots = account.limit, account.fill.half_open_slots
        marks = " ".join(str(limiter.mark) for limiter in limit.limiters)
        listed = f"for mark in {marks}; do conntrack -L -p tcp -m $mark/{SLOT_MASK} 2>/dev/null; done"
        command = f"{_inside(limit.first.namespace)} sh -c '{listed}' | grep SYN_ | wc -l"
        yield Measurement(limit.first.node, "half-open connections", slots, command)


def live(limit: Limit) -> Measurement:
    """The command that prints each refused SYN as it arrives."""
    node, namespace = limit.first.node, limit.first.namespace
    command = f"{_inside(namespace)} tcpdump -lni nflog:{REFUSED_GROUP}"
    if in_sandbox():  # which often has no number for the user that tcpdump becomes when root starts it
        lab = namespace.removeprefix("lab-").removesuffix(f"-{node}")
        command = f"lab capture --lab {lab} --dropped {node} -w - | tcpdump -lnr -"
    return Measurement(limit.first.node, "each SYN as it is refused", None, command)


def of_packets(node: NatNode, sample: Sample) -> Iterator[Measurement]:
    """What came in at the clients' side of a node and left at the servers'."""
    if node.node not in sample.nodes:
        return
    reading = sample.nodes[node.node]
    yield Measurement(node.node, "packets from clients", reading.inner.packets_in, _interface(node, node.inner))
    yield Measurement(node.node, "packets to servers", reading.outer.packets_out, _interface(node, node.outer))


def of_metered_node(node: NatNode, sample: Sample) -> Iterator[Measurement]:
    """What CloudWatch's metrics of a node are made of."""
    if node.node not in sample.nodes:
        return
    active = f"{_inside(node.namespace)} conntrack -L -m {ACTIVE:#x}/{ACTIVE:#x} 2>/dev/null | wc -l"
    reading = sample.nodes[node.node]
    yield Measurement(node.node, "active connections", reading.active, active)
    if lost := reading.counters.get(PORTS_NOT_FOUND, 0):
        added = "conntrack -S | grep -o 'insert_failed=[0-9]*' | awk -F= '{ n += $2 } END { print n }'"
        what = "SYNs that found a slot, and no free port in the kernel's search"
        yield Measurement(node.node, what, lost, f"{_inside(node.namespace)} {added}")


def of_node_endings(node: NatNode, ended: NodeEndings) -> Iterator[Measurement]:
    """What a node reset because it had no entry for it, and how many connections fell idle."""
    inside, table = _inside(node.namespace), node.table
    counter = f"{inside} nft list counter ip {table} {RESET_HERE}"
    yield Measurement(node.node, "connections reset for which it had no entry", ended.reset, counter)
    ended_or_not = (
        f'$2 == "{ESTABLISHED}" {{ getline; n += $2 }} '
        f"$2 ~ /^({CLOSED}|{FORGOTTEN})$/ {{ getline; n -= $2 }} END {{ print n }}"
    )
    counted = f"{inside} nft list counters table ip {table} | awk '{ended_or_not}'"
    active = f"{inside} conntrack -L -m {ACTIVE:#x}/{ACTIVE:#x} 2>/dev/null | wc -l"
    what = "connections established, neither closed nor active: fallen idle"
    yield Measurement(node.node, what, ended.idle_timeouts, f"echo $(( $({counted}) - $({active}) ))")


def of_drop(drop: DropCounter, packets: int) -> Measurement:
    """What dropped packets whatever the limits."""
    command = f"{_inside(drop.namespace)} nft list counter {drop.family} {drop.table} {drop.counter}"
    return Measurement(drop.node, f"packets dropped: {cause_in_words(drop)} {drop.name}", packets, command)


def of_impairment(impairment: Impairment, namespaces: Mapping[str, str]) -> Measurement:
    """The fault that `lab impair` has set on an interface."""
    inside = _inside(namespaces[impairment.node])
    silence = f"{inside} nft list counters netdev"
    discipline = f"{inside} tc -s qdisc show dev {impairment.interface}"
    what = f"packets dropped at {impairment.interface}: {impairment.faults}"
    if not impairment.faults.silence:
        return Measurement(impairment.node, what, impairment.dropped_packets, discipline)
    if impairment.faults == Faults(silence=True):
        return Measurement(impairment.node, what, impairment.dropped_packets, silence)
    return Measurement(impairment.node, f"{what} (sum of both)", None, f"{silence}; {discipline}")


def of_full_process(process: FullProcess) -> Measurement:
    """How many descriptors a process has open."""
    what = f"descriptors of {process.command} ({process.pid}) open, of {process.limit:,}"
    return Measurement(process.namespace, what, process.limit, runnable(f"ls /proc/{process.pid}/fd | wc -l"))


def of_lacking(lacking: Lacking, lab: str) -> Measurement:
    """How many invocations of the last burst had no descriptor, by the lab's record."""
    return Measurement(
        lab, "invocations of the last burst that failed with EMFILE", lacking.emfile, f"cat {lacking.file}"
    )


def _inside(namespace: str) -> str:
    return runnable(f"ip netns exec {namespace}")


def _sum(limit: Limit, counters: list[str]) -> str:
    """A counter, or the sum of several."""
    inside, table = _inside(limit.first.namespace), limit.first.table
    if len(counters) == 1:
        return f"{inside} nft list counter ip {table} {counters[0]}"
    added = f"$2 ~ /^({'|'.join(counters)})$/ {{ getline; n += $2 }} END {{ print n }}"
    return f"{inside} nft list counters table ip {table} | awk '{added}'"


def _elements(limit: Limit) -> str:
    inside, table = _inside(limit.first.namespace), limit.first.table
    sets = [limiter.slots for limiter in limit.limiters]
    if len(sets) == 1:
        return f"{inside} nft list set ip {table} {sets[0]} | grep -o expires | wc -l"
    listed = f"for set in {' '.join(sets)}; do nft list set ip {table} $set; done"
    return f"{inside} sh -c '{listed}' | grep -o expires | wc -l"


def _interface(node: NatNode, interface: str) -> str:
    return f"{_inside(node.namespace)} ip -s link show dev {interface}"
