"""What a lab that stays up loses or changes: each kind of object removed or replaced, seen with others' eyes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
import socket
from typing import Any

import pytest

from lab.kernel import nft, rtnl
from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces
from lab.kernel.sysctl import reset_sysctl, write_sysctl
from lab.plan.objects import Address, Bridge, BridgePort, Neighbour, Route, Rule, Ruleset, Sysctl
from lab.slots.nft import Counter, Part, Set, Table, chain, table
from tests.support.machine import ip, require_sizes_that_change
from tests.support.throwaway import Throwaway, text_of, veth

ELSEWHERE = IPv4Network("198.18.0.0/24")

Do = Callable[[Namespaces, Any], None]

AT_LEFT: tuple[tuple[Do, Do, Callable[[str], Any]], ...] = (
    (rtnl.add_address, rtnl.remove_address, lambda at: Address(at, "left", IPv4Interface("10.0.0.1/24"))),
    (
        rtnl.add_neighbour,
        rtnl.remove_neighbour,
        lambda at: Neighbour(at, "left", IPv4Address("10.1.2.3"), "02:00:00:00:00:07"),
    ),
    (rtnl.add_route, rtnl.remove_route, lambda at: Route(at, ELSEWHERE, "left")),
    (rtnl.add_route, rtnl.remove_route, lambda at: Route(at, ELSEWHERE, "left", IPv4Address("10.1.2.3"), table=77)),
    (rtnl.add_route, rtnl.remove_route, lambda at: Route(at, ELSEWHERE, type="blackhole")),
    (rtnl.add_route, rtnl.remove_route, lambda at: Route(at, ELSEWHERE, "lo", table=255, type="local")),
    (rtnl.add_rule, rtnl.remove_rule, lambda at: Rule(at, 100, 77, source=ELSEWHERE)),
    (rtnl.add_rule, rtnl.remove_rule, lambda at: Rule(at, 101, 77, destination=ELSEWHERE, input_interface="left")),
    (rtnl.add_bridge, rtnl.remove_bridge, lambda at: Bridge(at, "segment")),
    (nft.apply_ruleset, nft.remove_ruleset, lambda at: Ruleset(at, table("t", Counter("c")))),
)


def everything(namespace: str) -> list[str]:
    """What a namespace has, in words, without what the kernel does over IPv6 in the seconds after a link is up.

    A busy machine finds out a moment later that a link which works is up, of which nothing was known.
    """
    commands = (
        "ip -br link",
        "ip -4 address",
        "ip -4 neighbour",
        "ip -4 route show table all",
        "ip -4 rule",
        "nft list ruleset",
    )
    return [text_of(namespace, *command.split()).replace(" UNKNOWN ", " UP      ") for command in commands]


@pytest.mark.parametrize(("do", "undo", "item"), AT_LEFT)
def test_what_is_removed_leaves_no_trace(namespaces: Throwaway, do: Do, undo: Do, item: Callable[[str], Any]) -> None:
    """A namespace is as it was before the object came, and the object can come again."""
    pair = namespaces.pair()
    at = pair.a.namespace
    rtnl.wait_until_up(namespaces, (at, pair.b.namespace))
    before = everything(at)
    for _ in range(2):
        do(namespaces, item(at))
        assert everything(at) != before
        undo(namespaces, item(at))
        assert everything(at) == before


def test_a_link_goes_from_both_ends_at_once(namespaces: Throwaway) -> None:
    """A veth pair that is removed at one end is gone at the other, so that it can be made again at once."""
    pair = namespaces.pair()
    for port in (pair.a, pair.b):
        rtnl.remove_veth(namespaces, port)
        for end in (pair.a, pair.b):
            assert [each["ifname"] for each in ip("link", namespace=end.namespace)] == ["lo"]
        rtnl.add_veth(namespaces, pair)
        rtnl.wait_until_up(namespaces, (pair.a.namespace, pair.b.namespace))


def test_links_come_and_go_in_any_order(namespaces: Throwaway) -> None:
    """A link that comes after another has gone does not want the index of one that stays."""
    here, there, yonder = namespaces.new(), namespaces.new(), namespaces.new()
    first, second = veth(here, there), veth(here, yonder)
    second = type(second)(type(second.a)(here, "other", "02:00:00:00:00:09"), second.b)
    rtnl.add_veth(namespaces, first)
    rtnl.add_veth(namespaces, second)
    rtnl.remove_veth(namespaces, first.a)
    rtnl.add_veth(namespaces, first)
    assert {each["ifname"] for each in ip("link", namespace=here)} == {"lo", "left", "other"}


def test_an_unplugged_port(namespaces: Throwaway) -> None:
    """A port that leaves its bridge stays as an interface."""
    at = namespaces.pair().a.namespace
    rtnl.add_bridge(namespaces, Bridge(at, "segment"))
    for _ in range(2):
        rtnl.add_bridge_port(namespaces, BridgePort(at, "segment", "left", "02:00:00:00:00:01"))
        assert ip("link", "show", "master", "segment", namespace=at)
        rtnl.remove_bridge_port(namespaces, BridgePort(at, "segment", "left", "02:00:00:00:00:01"))
        assert not ip("link", "show", "master", "segment", namespace=at)


@pytest.mark.parametrize(
    "new", [{"type": "blackhole"}, {"interface": "left"}, {"interface": "left", "via": IPv4Address("10.9.9.9")}]
)
def test_a_route_in_the_place_of_another(namespaces: Throwaway, new: dict[str, Any]) -> None:
    """There is one route to the destination before and after, whatever kinds they are."""
    at = namespaces.pair().a.namespace
    rtnl.add_route(namespaces, Route(at, ELSEWHERE, "left", IPv4Address("10.1.2.3")))
    rtnl.replace_route(namespaces, Route(at, ELSEWHERE, **new))
    (found,) = ip("route", "show", str(ELSEWHERE), namespace=at)
    assert found.get("type", "unicast") == new.get("type", "unicast")
    assert found.get("gateway") == (str(new["via"]) if "via" in new else None)


def test_a_neighbour_with_another_mac(namespaces: Throwaway) -> None:
    """A neighbour's MAC address is replaced, for good."""
    at = namespaces.pair().a.namespace
    rtnl.add_neighbour(namespaces, Neighbour(at, "left", IPv4Address("10.1.2.3"), "02:00:00:00:00:07"))
    rtnl.replace_neighbour(namespaces, Neighbour(at, "left", IPv4Address("10.1.2.3"), "02:00:00:00:00:08"))
    (found,) = ip("neighbour", namespace=at)
    assert (found["lladdr"], found["state"]) == ("02:00:00:00:00:08", ["PERMANENT"])


def test_a_setting_that_is_reset(namespaces: Throwaway) -> None:
    """A setting gets the value of a new namespace."""
    at = namespaces.new()
    before = setting(namespaces, at)
    sysctl = Sysctl(at, "net.ipv4.tcp_syn_retries", "9")
    write_sysctl(namespaces, sysctl)
    assert setting(namespaces, at) == "9" != before
    reset_sysctl(namespaces, sysctl)
    assert setting(namespaces, at) == before


def setting(namespaces: Throwaway, at: str) -> str:
    """A setting as a namespace has it."""
    return namespaces[at].run(Path("/proc/sys/net/ipv4/tcp_syn_retries").read_text).strip()


# ── Rulesets ────────────────────────────────────────────────────────────────────────────────────────────────

MORE = (Set("more", "ipv4_addr", 5), chain("more_chain", "accept"))


def holding(size: int = 10, more: tuple[Part, ...] = ()) -> Table:
    """A table whose set holds who sends to port 5000."""
    out = chain(
        "out",
        "udp dport 5000 update @held { ip saddr . udp sport } counter name sent ct mark set 0x11",
        "ct mark vmap { 0x11 : goto held_track }",
        hook="type filter hook output priority filter; policy accept;",
    )
    held_by = Set("held", "ipv4_addr . inet_service", size, timeout="60s", mark=0x11)
    return table("t", held_by, Counter("sent"), out, chain("held_track", "accept"), *more)


def send(namespaces: Throwaway, at: str, count: int) -> None:
    """Datagrams from so many ports."""
    namespaces[at].run(_send, count)


def _send(count: int) -> None:
    for port in range(20_000, 20_000 + count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", port))
            sender.sendto(b"hello", ("127.0.0.1", 5000))


def held(namespaces: Throwaway, at: str) -> int:
    """What the set holds."""
    return namespaces[at].run(nftables.set_size, "t", "held")


@pytest.fixture
def place(namespaces: Throwaway) -> str:
    """A namespace with that table, its set holding 6 of 10."""
    at = namespaces.new()
    nft.apply_ruleset(namespaces, Ruleset(at, holding()))
    send(namespaces, at, 6)
    assert held(namespaces, at) == 6
    return at


def test_a_ruleset_that_changes_keeps_what_its_sets_hold(namespaces: Throwaway, place: str) -> None:
    """Elements and counters stay; more of both come when the set is larger, and what is over is gone."""
    require_sizes_that_change()
    nft.replace_ruleset(namespaces, Ruleset(place, holding()), Ruleset(place, holding(8, MORE)))
    assert held(namespaces, place) == 6
    assert "chain more_chain" in text_of(place, "nft", "list", "ruleset")
    send(namespaces, place, 9)
    assert held(namespaces, place) == namespaces[place].run(nftables.set_limit, "t", "held") == 8
    nft.replace_ruleset(namespaces, Ruleset(place, holding(8, MORE)), Ruleset(place, holding(20)))
    assert "more" not in text_of(place, "nft", "list", "ruleset")
    assert held(namespaces, place) == 8
    assert namespaces[place].run(nftables.counters, "t")["sent"].packets >= 6 + 8


def test_a_set_that_is_rebuilt_forgets_and_so_does_conntrack(namespaces: Throwaway, place: str) -> None:
    """A set made anew is empty, and of its connections conntrack knows nothing."""
    assert namespaces[place].run(conntrack.tracked) == 6
    nft.replace_ruleset(namespaces, Ruleset(place, holding()), Ruleset(place, holding(4)), {"held"})
    assert held(namespaces, place) == 0
    assert namespaces[place].run(conntrack.tracked) == 0
    send(namespaces, place, 9)
    assert held(namespaces, place) == 4


def test_a_set_that_holds_more_than_it_should_stays_as_it_was(namespaces: Throwaway, place: str) -> None:
    """A size below what is held is refused in words, with everything as it was: the set would have no limit at all."""
    require_sizes_that_change()
    before = text_of(place, "nft", "-s", "list", "table", "ip", "t").replace("counter", "")
    with pytest.raises(OSError, match="set held holds 6 by now, more than 4"):
        nft.replace_ruleset(namespaces, Ruleset(place, holding()), Ruleset(place, holding(4, MORE)))
    assert namespaces[place].run(nftables.set_limit, "t", "held") == 10
    assert held(namespaces, place) == 6
    assert "more" not in before
    assert "more" not in text_of(place, "nft", "list", "ruleset")


def test_a_kernel_that_does_not_change_sizes(
    namespaces: Throwaway, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.5 a new size is ignored without a word: that is noticed, said and taken back."""
    monkeypatch.setattr("lab.kernel.netfilter.nftables.set_limit", lambda *_: 10)
    with pytest.raises(OSError, match=r"set held has room for 10 and should have 20: kernel .* Linux 6.5 does"):
        nft.replace_ruleset(namespaces, Ruleset(place, holding()), Ruleset(place, holding(20, MORE)))
    monkeypatch.undo()
    assert "more" not in text_of(place, "nft", "list", "ruleset")
    assert held(namespaces, place) == 6


@pytest.mark.parametrize("done", [True, False])
def test_a_ruleset_is_restored_whether_or_not_it_was_replaced(namespaces: Throwaway, place: str, *, done: bool) -> None:
    """Taking back needs not know how far the change came."""
    old, new = Ruleset(place, holding()), Ruleset(place, holding(12, MORE))
    if done:
        require_sizes_that_change()
        nft.replace_ruleset(namespaces, old, new)
    nft.restore_ruleset(namespaces, new, old)
    assert namespaces[place].run(nftables.set_limit, "t", "held") == 10
    assert "more" not in text_of(place, "nft", "list", "ruleset")
    assert held(namespaces, place) == 6


def test_conntrack_forgets_by_the_slots_part_of_a_mark(namespaces: Throwaway, place: str) -> None:
    """Who has closed is in the upper half of a mark and makes no difference; other slots' connections stay."""
    namespaces[place].run(conntrack.forget, [0x12])
    assert namespaces[place].run(conntrack.tracked) == 6
    namespaces[place].run(conntrack.forget, [0x12, 0x11])
    assert namespaces[place].run(conntrack.tracked) == 0
