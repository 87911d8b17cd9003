"""Faults on the links of throwaway namespaces: what the kernel has of them, seen with the eyes of tc and nft."""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple

import pytest

from lab.errors import KernelError, PreflightError, UsageError
from lab.impair import apply as impair
from lab.impair.faults import Faults, Impairment
from lab.kernel.rtnl import wait_until_up
from lab.plan.objects import NodePlan, Plan
from tests.support.labs import eventually
from tests.support.machine import ip
from tests.support.throwaway import Throwaway, text_of

SLOW = Faults(rate_bit_per_s=1_000_000)
SLOWER = Faults(rate_bit_per_s=500_000)
SILENT = Faults(silence=True)
BROADCAST = "192.0.2.255"


class Link(NamedTuple):
    """Two nodes and the link between them: `left` in the one, `right` in the other."""

    namespaces: Throwaway
    plan: Plan
    left: NodePlan
    right: NodePlan

    def set(self, node: NodePlan, faults: Faults, interface: str | None = None) -> tuple[Impairment, ...]:
        """Set faults on a node."""
        return impair.impair(self.namespaces, self.plan, node, interface, faults)

    def clear(self) -> tuple[Impairment, ...]:
        """Clear both nodes."""
        return impair.clear(self.namespaces, self.plan, self.plan.nodes)

    def read(self) -> dict[str, str]:
        """Interface → what is set there."""
        return {each.interface: str(each.faults) for each in impair.read(self.namespaces, self.plan, self.plan.nodes)}

    def qdisc(self) -> Any:
        """The root qdisc of `left`, as tc has it."""
        told = text_of(self.left.namespace, "tc", "-statistics", "-json", "qdisc", "show", "dev", "left", "root")
        return json.loads(told)[0]

    def tables(self, node: NodePlan) -> str:
        """The node's nftables tables."""
        return text_of(node.namespace, "nft", "list", "tables")


@pytest.fixture
def link(namespaces: Throwaway) -> Link:
    """A link whose left end has an address, so that there is something to send."""
    pair = namespaces.pair()
    left, right = (NodePlan(end.interface, "vpc", end.namespace, ()) for end in (pair.a, pair.b))
    ip("address", "add", "192.0.2.1/24", "broadcast", BROADCAST, "dev", "left", namespace=left.namespace)
    # Until the kernel has seen the carrier, what is sent goes nowhere (link_watch.c).
    wait_until_up(namespaces, (left.namespace, right.namespace))
    plan = Plan("t", (pair,), (left, right), (), (), ())
    return Link(namespaces, plan, left, right)


def send(count: int) -> None:
    """Send so many frames of 1,042 bytes; runs inside the left node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(count):
            sender.sendto(bytes(1_000), (BROADCAST, 9))


def test_nothing_is_set(link: Link) -> None:
    """Where nothing is set nothing is read, and there is nothing to clear."""
    assert link.read() == {}
    assert link.clear() == ()


def test_a_rate_is_a_token_bucket(link: Link) -> None:
    """A rate makes a TBF qdisc with that rate, of which the kernel says what it sent and what had to wait or go."""
    (made,) = link.set(link.left, SLOW)
    assert made == Impairment("left", "left", SLOW, 0)
    link.namespaces[link.left.namespace].run(send, 500)
    qdisc = link.qdisc()
    assert (qdisc["kind"], qdisc["options"]["rate"]) == ("tbf", 125_000)
    assert qdisc["overlimits"] > 0
    assert qdisc["drops"] > 0
    (found,) = impair.read(link.namespaces, link.plan, [link.left])
    assert found.dropped_packets >= qdisc["drops"]  # IPv6 looks for neighbours as well


def test_setting_again_replaces(link: Link) -> None:
    """What is set takes the place of what was set, and its count begins at nothing."""
    link.set(link.left, SLOW)
    link.namespaces[link.left.namespace].run(send, 500)
    for faults in (SLOWER, SLOW, SLOWER):
        assert link.set(link.left, faults) == (Impairment("left", "left", faults, 0),)
        assert link.qdisc()["options"]["rate"] * 8 == faults.rate_bit_per_s
    link.set(link.left, SILENT)
    assert link.read() == {"left": "silence"}
    assert link.qdisc()["kind"] == "noqueue"
    link.set(link.left, SLOW)
    assert link.read() == {"left": "rate 1mbit"}
    assert link.tables(link.left) == ""


def test_silence_drops_what_arrives(link: Link) -> None:
    """Everything that arrives at a silent node is dropped and counted; what the node sends is not."""
    (made,) = link.set(link.right, SILENT)
    link.namespaces[link.left.namespace].run(send, 3)

    def dropped() -> int:
        (found,) = impair.read(link.namespaces, link.plan, [link.right])
        assert (made.faults, found.faults) == (SILENT, SILENT)
        return found.dropped_packets - made.dropped_packets

    assert eventually(lambda: dropped() >= 3)  # IPv6 looks for neighbours as well
    assert "netdev lab_impair-right" in link.tables(link.right)


def test_rate_and_silence_together(link: Link) -> None:
    """A rate of what is sent and silence for what arrives go together, and are cleared together."""
    both = Faults(rate_bit_per_s=1_000_000, silence=True)
    link.set(link.left, both)
    link.set(link.right, SLOW)
    assert link.read() == {"left": "rate 1mbit, silence", "right": "rate 1mbit"}
    assert [each.interface for each in link.clear()] == ["left", "right"]
    assert link.read() == {}
    assert link.qdisc()["kind"] == "noqueue"
    assert link.tables(link.left) == link.tables(link.right) == ""


def test_what_others_have_set_stays(link: Link) -> None:
    """A qdisc that somebody else has set is neither replaced nor listed nor cleared; silence can be set beside it."""
    theirs = ("tc", "qdisc", "add", "dev", "left", "root", "tbf", "rate", "9mbit", "burst", "9000", "latency", "9ms")
    text_of(link.left.namespace, *theirs)
    with pytest.raises(
        KernelError, match=r"left of left has a qdisc .* \(tbf [0-9a-f]+:\); .* tc qdisc del dev left root"
    ):
        link.set(link.left, SLOW)
    link.set(link.left, SILENT)
    assert link.read() == {"left": "silence"}
    link.clear()
    assert link.qdisc()["options"]["rate"] * 8 == 9_000_000


def test_an_interface_is_chosen(link: Link) -> None:
    """One interface can be named; one that the node has not is refused with those that it has."""
    assert len(link.set(link.left, SLOW, "left")) == 1
    with pytest.raises(UsageError, match="no interface 'right' in node left; known: left"):
        link.set(link.left, SLOW, "right")
    with pytest.raises(UsageError, match="nothing to set on left"):
        link.set(link.left, Faults())


def test_a_link_that_is_gone(link: Link) -> None:
    """A link that somebody has removed is the kernel's refusal, with the namespace's name."""
    ip("link", "del", "left", namespace=link.left.namespace)
    with pytest.raises(KernelError, match=f"links of {link.left.namespace}: .*No such device: left"):
        link.set(link.left, SLOW)
    with pytest.raises(KernelError, match=link.left.namespace):
        link.read()


def test_half_of_it_is_undone(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel takes the rate and refuses the silence, the rate is taken back."""
    monkeypatch.setattr(impair, "_SILENCE", "table netdev {table} {{ {interface} {counter} }}\n")
    with pytest.raises(KernelError, match="syntax error"):
        link.set(link.left, Faults(rate_bit_per_s=1_000_000, silence=True))
    assert link.read() == {}
    assert link.qdisc()["kind"] == "noqueue"


# ── netem ───────────────────────────────────────────────────────────────────────────────────────────────────

FAR = Faults(rate_bit_per_s=10_000_000, loss_percent=1.5, latency_s=0.1, jitter_s=0.01)


def test_netem_as_it_was_asked_for(link: Link) -> None:
    """Loss, latency, jitter and rate are one netem qdisc, and are read from the kernel as they were set."""
    try:
        (made,) = link.set(link.left, FAR)
    except PreflightError as lacking:
        pytest.skip(str(lacking))
    assert made.faults == FAR
    assert link.qdisc()["kind"] == "netem"
    link.set(link.left, Faults(loss_percent=100))
    link.namespaces[link.left.namespace].run(send, 10)
    (found,) = impair.read(link.namespaces, link.plan, [link.left])
    assert found.faults == Faults(loss_percent=100)
    assert found.dropped_packets >= 10  # IPv6 looks for neighbours as well


def test_a_kernel_without_netem(link: Link) -> None:
    """Where the kernel has no netem that is said, with its name and what helps, and what was set before stays."""
    link.set(link.left, SLOW)
    try:
        link.set(link.left, FAR)
    except PreflightError as lacking:
        said = str(lacking)
    else:
        pytest.skip("this kernel has netem (sch_netem)")
    assert all(word in said for word in ("sch_netem", "CONFIG_NET_SCH_NETEM", "modprobe", "linux-modules-extra"))
    assert link.read() == {"left": "rate 1mbit"}
