"""Samples: what is made of the kernel's answers, and how many connections have fallen idle, without looking often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from lab.kernel.interfaces import InterfaceCount
from lab.kernel.netfilter.conntrack import Drops
from lab.kernel.netfilter.nftables import Counter, Element
from lab.observe.samples import NodeSample
from lab.observe.sampling import Sampler, sample_slots
from lab.slots import counters as counting
from lab.slots.counters import NatNode, nodes_from_json, nodes_to_json
from lab.slots.ruleset import FIRST_REFUSED_TIMEOUT_S
from tests.support.tiny_lab import limiters

if TYPE_CHECKING:
    from lab.kernel.netns import Namespaces

IDLE_S = 16
NODE = NatNode("natgw", "nat_gateway", "lab-x-natgw", "nat_gateway", "vpc", "inet", IDLE_S)
LISTING_S = 0.1
"""What reading the list takes: so it is read every 5 s at most."""


class Kernel:
    """One NAT node as the kernel tells of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.established = self.closed = self.idle = 0
        self.lists = 0
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while the list is read."""
        monkeypatch.setattr("lab.kernel.netfilter.nftables.counters", lambda _: self._counters())
        monkeypatch.setattr(
            "lab.kernel.netfilter.nftables.set_sizes", lambda _: {"eip1": 3, "refused": 7, "first_refused": 1}
        )
        monkeypatch.setattr("lab.kernel.netfilter.conntrack.marked", lambda _: self._list())
        monkeypatch.setattr("lab.kernel.netfilter.conntrack.drops", lambda: Drops(5, 4))
        interfaces = {"vpc": InterfaceCount(1, 2, 3, 4), "inet": InterfaceCount(5, 6, 7, 8)}
        monkeypatch.setattr("lab.observe.sampling.interface_counts", lambda: interfaces)
        self._sampler = Sampler((NODE,), lambda: self.now_s)

    def _counters(self) -> dict[str, Counter]:
        found = {counting.ESTABLISHED: self.established, counting.CLOSED: self.closed, "refused_packets_eip1": 2}
        return {name: Counter(packets, 60 * packets) for name, packets in found.items()}

    def _list(self) -> int:
        self.lists += 1
        active = self.established - self.closed - self.idle
        self.meanwhile()
        self.now_s += LISTING_S
        return active

    def sample(self, after_s: float = 0) -> NodeSample:
        """So much later."""
        self.now_s += after_s
        return self._sampler.take(lambda _, look: look()).nodes["natgw"]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A node on which nothing has happened yet."""
    return Kernel(monkeypatch)


def test_a_sample_has_what_the_kernel_says(kernel: Kernel) -> None:
    """Counters, conntrack's own drops, slots without the sets that hold none, and both interfaces."""
    kernel.established, kernel.closed = 9, 2
    found = kernel.sample()
    assert (found.established, found.closed, found.active, found.idle_timeouts) == (9, 2, 7, 0)
    assert found.held == {"eip1": 3}
    assert (found.refused_packets, found.without_port, found.dropped_packets) == (2, 6, 7)
    assert (found.inner, found.outer) == (InterfaceCount(1, 2, 3, 4), InterfaceCount(5, 6, 7, 8))


def test_without_old_connections_no_list_is_read(kernel: Kernel) -> None:
    """What is younger than the idle timeout is active, whatever comes and goes: nobody needs to look."""
    kernel.sample()
    for _ in range(IDLE_S - 2):
        kernel.established += 1_000
        kernel.closed += 900
        assert kernel.sample(after_s=1).active == kernel.established - kernel.closed
    assert kernel.lists == 0


def test_idle_timeouts_are_found_soon(kernel: Kernel) -> None:
    """What falls idle is known within the time between two looks at the list."""
    kernel.sample()
    kernel.established = 100
    assert kernel.sample(after_s=1).active == 100
    kernel.idle = 60
    found = [kernel.sample(after_s=1).idle_timeouts for _ in range(IDLE_S + 6)]
    assert found[:14] == [0] * 14
    assert found[-1] == 60
    assert kernel.sample().active == 40


def test_lists_take_a_fiftieth_of_the_time(kernel: Kernel) -> None:
    """A list that takes 0.1 s is read each 5 s, however many samples are taken."""
    kernel.established = 100
    kernel.sample()  # what was there at first may be of any age
    assert kernel.lists == 1
    began_s = kernel.now_s
    while kernel.now_s < began_s + 20:
        kernel.sample(after_s=0.1)
    assert kernel.lists == 5


def test_what_closes_while_the_list_is_read_is_not_idle(kernel: Kernel) -> None:
    """A connection that was counted as open, and is closed when the list has been read, never counts as idle."""
    kernel.established = 100

    def close_some() -> None:
        kernel.closed += 10

    kernel.meanwhile = close_some
    kernel.idle = 5
    before = kernel.sample()
    assert before.idle_timeouts <= 5
    kernel.meanwhile = lambda: None
    after = kernel.sample(after_s=IDLE_S)
    assert (after.idle_timeouts, after.active) == (5, 85)


def test_a_node_that_is_gone_is_left_out(kernel: Kernel) -> None:
    """A namespace or a table that `lab up` has taken away meanwhile is no error."""

    def gone(_: str, __: Callable[[], NodeSample]) -> NodeSample:
        raise FileNotFoundError

    sampler = Sampler((NODE,))
    assert sampler.take(gone).nodes == {}
    kernel.sample()


def test_nodes_on_a_command_line() -> None:
    """What the collector is told of nodes is what the plan has."""
    assert nodes_from_json(nodes_to_json((NODE, NODE))) == (NODE, NODE)


@pytest.mark.parametrize("longest_s", [0.0, 0.03, 0.05])
def test_first_refusals_of_all_nodes_compare(monkeypatch: pytest.MonkeyPatch, longest_s: float) -> None:
    """Two nodes that refused at the same time say so, however long this process waited between and beside its looks."""
    refused_s, clock = 100.0, [130.0]
    waits = cycle([longest_s, 0.001, 0.0004])

    def elements(_: str, __: str) -> Iterator[Element]:
        left_s = FIRST_REFUSED_TIMEOUT_S - (clock[0] - refused_s)
        clock[0] += next(waits)
        yield Element(b"\x0a\x00\x01\x04\x02\x18", round(left_s * 1000))

    def take(_: str, look: Callable[[], NodeSample]) -> NodeSample:
        clock[0] += 0.07
        return look()

    monkeypatch.setattr("lab.observe.sampling.time", SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr("lab.kernel.netfilter.nftables.elements", elements)
    monkeypatch.setattr("lab.kernel.netfilter.nftables.set_size", lambda *_: 0)
    monkeypatch.setattr(
        "lab.kernel.netfilter.nftables.counters",
        lambda _: dict.fromkeys((counting.ESTABLISHED, counting.CLOSED), Counter(0, 0)),
    )
    namespaces = cast("Namespaces", SimpleNamespace(call=take))
    sample = sample_slots(namespaces, [replace(limiters("eni-private-a")[0], node=node) for node in ("eni-a", "eni-b")])
    ages = [node.first_refusal.age_s for node in sample.nodes.values() if node.first_refusal]
    assert ages == pytest.approx([30, 30], abs=0.002)
