"""Each kind of object that a plan has, made by the lab's own hands in throwaway namespaces, seen with others' eyes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
import json
import os
from pathlib import Path
import resource
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from lab.errors import KernelError
from lab.kernel import nft, processes
from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces, exists, remove
from lab.kernel.rtnl import (
    add_address,
    add_bridge,
    add_bridge_port,
    add_neighbour,
    add_route,
    add_rule,
    add_veth,
    wait_until_up,
)
from lab.kernel.sysctl import write_sysctl
from lab.plan.objects import (
    LOCAL_TABLE,
    Address,
    Bridge,
    BridgePort,
    Neighbour,
    Process,
    Route,
    Rule,
    Sysctl,
)
from tests.support.labs import eventually
from tests.support.machine import NETNS, ip
from tests.support.throwaway import Throwaway, text_of, veth
from traffic.spec import ServerSpec

ANYWHERE = IPv4Network("0.0.0.0/0")
ELSEWHERE = IPv4Network("198.18.0.0/24")

# ── Namespaces ──────────────────────────────────────────────────────────────────────────────────────────────


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_of_namespaces(namespaces: Throwaway) -> None:
    """A namespace that was made takes one descriptor, its netlink socket, until it is left."""
    at_first = open_descriptors()
    namespaces.new()
    before = open_descriptors()
    for _ in range(5):
        namespaces.new()
    assert open_descriptors() == before + 5
    namespaces.close()
    assert open_descriptors() == at_first


def own_network() -> str:
    """The network namespace of the thread that asks."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def network_named(name: str) -> str:
    """The network namespace that bears this name."""
    return f"net:[{(NETNS / name).stat().st_ino}]"


def known_names() -> set[str]:
    """The names that `ip netns` shows."""
    return {each["name"] for each in ip("netns") or ()}


def test_a_namespace_is_one_that_ip_netns_knows(namespaces: Throwaway) -> None:
    """What `create` makes bears its name in `ip netns`, is not the host's own, and has its loopback interface up."""
    name = namespaces.new()
    assert name in known_names()
    assert namespaces[name].run(own_network) == network_named(name) != own_network()
    (loopback,) = ip("link", namespace=name)
    assert "UP" in loopback["flags"]


def test_a_deleted_namespace_has_no_name(namespaces: Throwaway) -> None:
    """After `delete` nobody knows the name, and a new namespace can bear it."""
    name = namespaces.new()
    namespaces.delete(name)
    assert not exists(name)
    assert name not in known_names()
    namespaces.create(name)
    assert name in known_names()


def test_a_namespace_can_be_entered_by_name(namespaces: Throwaway) -> None:
    """A namespace that somebody else has made is entered when it is first asked for, and stays when it is left."""
    name = namespaces.reserve()
    ip("netns", "add", name)
    with Namespaces() as others:
        assert others[name].run(own_network) == network_named(name)
        assert others[name] is others[name]
    assert name in known_names()


def test_an_unknown_name_is_not_entered(namespaces: Throwaway) -> None:
    """Asking for a namespace that is not there raises FileNotFoundError, each time."""
    name = namespaces.reserve()
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=name):
            namespaces[name]


def test_a_name_that_is_taken_stays_with_its_namespace(namespaces: Throwaway) -> None:
    """Creating under a name that is taken fails, leaves what is there, and leaves no way into the host's own."""
    name = namespaces.reserve()
    ip("netns", "add", name)
    taken = network_named(name)
    with pytest.raises(FileExistsError):
        namespaces.create(name)
    assert network_named(name) == namespaces[name].run(own_network) == taken


def test_the_hosts_own_namespace_is_never_entered(namespaces: Throwaway) -> None:
    """A name that leads to the host's own namespace is refused at the door."""
    name = namespaces.reserve()
    ip("netns", "attach", name, str(os.getpid()))
    with pytest.raises(KernelError, match="in which this command was started: the host's own"):
        namespaces[name]


def test_nobody_lives_in_the_hosts_own_namespace(namespaces: Throwaway) -> None:
    """A name that leads to the host's own namespace has no processes_in whom `end` could end."""
    name = namespaces.reserve()
    ip("netns", "attach", name, str(os.getpid()))
    assert processes.processes_in([name]) == []


def test_a_name_without_a_namespace_can_be_removed(namespaces: Throwaway) -> None:
    """The empty file that a killed `lab up` leaves, its namespace not mounted yet, goes; removing twice is allowed."""
    name = namespaces.reserve()
    (NETNS / name).touch()
    for _ in range(2):
        remove(name)
        assert not exists(name)


# ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_veth_pair_joins_two_namespaces(namespaces: Throwaway) -> None:
    """Both ends are in their namespaces, each with its own MAC address, and up."""
    pair = namespaces.pair()
    wait_until_up(namespaces, (pair.a.namespace, pair.b.namespace))
    for port in (pair.a, pair.b):
        (link,) = ip("link", "show", "dev", port.interface, namespace=port.namespace)
        assert (link["address"], link["operstate"], link["linkinfo"]["info_kind"]) == (port.mac, "UP", "veth")


def test_no_end_of_a_veth_pair_is_ever_in_the_hosts_own_namespace(namespaces: Throwaway) -> None:
    """While a pair is made and deleted, who listens in its namespace hears of it, in the host's own nobody does."""
    left, right = namespaces.new(), namespaces.new()
    with link_listener() as outside, namespaces[left].run(link_listener) as within:
        add_veth(namespaces, veth(left, right))
        ip("link", "del", "left", namespace=left)
        assert b"left\0" in all_heard(within)
        said = all_heard(outside)
    assert b"left\0" not in said
    assert b"right\0" not in said


def link_listener() -> socket.socket:
    """Hears of every change of a link in the namespace of the thread that asks."""
    rtmgrp_link = 1
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.bind((0, rtmgrp_link))
    listener.settimeout(0)
    return listener


def all_heard(listener: socket.socket) -> bytes:
    """What has been said until now."""
    said = b""
    try:
        while True:
            said += listener.recv(1 << 16)
    except BlockingIOError:
        return said


def test_interface_names_may_be_the_same_in_many_namespaces(namespaces: Throwaway) -> None:
    """Several pairs may have ends of the same name, as long as they are in different namespaces."""
    middle = namespaces.new()
    for _ in range(3):
        pair = veth(namespaces.new(), middle)
        add_veth(namespaces, pair)
        ip("link", "set", "right", "name", pair.a.namespace[-5:], namespace=middle)
    assert len(ip("link", namespace=middle)) == 4


def test_a_bridge_joins_its_ports(namespaces: Throwaway) -> None:
    """Ports of a bridge are forwarding once they are up, and what one host sends the other gets."""
    pairs = namespaces.pair(), namespaces.pair()
    middle = namespaces.new()
    for index, pair in enumerate(pairs):
        far = pair.b.namespace
        ip("link", "set", "right", "netns", middle, "name", f"port{index}", "up", namespace=far)
        add_address(namespaces, Address(pair.a.namespace, "left", IPv4Interface(f"10.0.0.{index + 1}/24")))
    add_bridge(namespaces, Bridge(middle, "segment"))
    for index, pair in enumerate(pairs):
        add_bridge_port(namespaces, BridgePort(middle, "segment", f"port{index}", pair.a.mac))
    wait_until_up(namespaces, (middle, *(pair.a.namespace for pair in pairs)))
    ports = ip("link", "show", "master", "segment", namespace=middle)
    assert {each["ifname"]: each["linkinfo"]["info_slave_data"]["state"] for each in ports} == {
        "port0": "forwarding",
        "port1": "forwarding",
    }
    assert heard(namespaces, pairs[0].a.namespace, pairs[1].a.namespace, "10.0.0.2") == ("10.0.0.1", b"hello")


def test_a_bridge_knows_who_is_behind_a_port(namespaces: Throwaway) -> None:
    """A frame for a host that never spoke comes out of its port alone."""
    pairs = [namespaces.pair() for _ in range(3)]
    middle = namespaces.new()
    add_bridge(namespaces, Bridge(middle, "segment"))
    for index, pair in enumerate(pairs):
        ip("link", "set", "right", "netns", middle, "name", f"port{index}", "up", namespace=pair.b.namespace)
        add_bridge_port(namespaces, BridgePort(middle, "segment", f"port{index}", pair.a.mac))
    wait_until_up(namespaces, (middle, *(pair.a.namespace for pair in pairs)))
    frame = b"".join(bytes.fromhex(pairs[number].a.mac.replace(":", "")) for number in (1, 0)) + b"\x88\xb5" + bytes(46)
    with ExitStack() as closed:
        ends = [closed.enter_context(namespaces[pair.a.namespace].run(_ear)) for pair in pairs]
        ends[1].settimeout(10.0)
        ends[0].send(frame)
        assert ends[1].recv(100) == frame
        with pytest.raises(BlockingIOError):
            ends[2].recv(100)


def _ear() -> socket.socket:
    """What hears frames of an experimental protocol (IEEE 802, 0x88B5) on `left`, and no chatter."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    ear.bind(("left", 0x88B5))
    ear.setblocking(False)  # noqa: FBT003  # its only argument
    return ear


def heard(namespaces: Throwaway, here: str, there: str, address: str, source: str = "") -> tuple[str, bytes]:
    """Who says `hello` to an address, as its owner hears it; TimeoutError if nothing arrives."""
    with ExitStack() as closed:
        speaker, listener = (
            closed.enter_context(namespaces[each].run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
            for each in (here, there)
        )
        listener.bind((address, 5000))
        listener.settimeout(10.0)
        speaker.bind((source, 0))
        speaker.sendto(b"hello", (address, 5000))
        said, (host, _) = listener.recvfrom(100)
        return host, said


def state_of(namespace: str, interface: str) -> str:
    """The operational state of an interface."""
    (link,) = ip("link", "show", "dev", interface, namespace=namespace)
    return str(link["operstate"])


def test_an_interface_that_stays_down_is_named(namespaces: Throwaway, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait_until_up` gives up in time, and says which interface of which namespace is not up."""
    monkeypatch.setattr("lab.kernel.rtnl._UP_WITHIN_S", 0.05)
    pair = namespaces.pair()
    ip("link", "set", "right", "down", namespace=pair.b.namespace)
    assert eventually(lambda: state_of(pair.a.namespace, "left") != "UP")
    with pytest.raises(OSError, match=rf"in {pair.a.namespace} not up after .*: left"):
        wait_until_up(namespaces, (pair.a.namespace,))


def test_an_interface_whose_peer_is_down_is_not_up(namespaces: Throwaway, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is set up while the other is not has no carrier, whichever word the kernel has for that."""
    monkeypatch.setattr("lab.kernel.rtnl._UP_WITHIN_S", 0.05)
    name = namespaces.new()
    ip("link", "add", "left", "up", "type", "veth", "peer", "name", "right", namespace=name)
    assert eventually(lambda: state_of(name, "left") == "LOWERLAYERDOWN")
    with pytest.raises(OSError, match=r"not up after .*left"):
        wait_until_up(namespaces, (name,))


# ── Addresses, neighbours, routes, rules ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["10.9.8.7/32", "100.64.2.1/16"])
def test_an_address(namespaces: Throwaway, address: str) -> None:
    """An interface gets its address with the prefix that the plan has."""
    name = namespaces.new()
    add_address(namespaces, Address(name, "lo", IPv4Interface(address)))
    (link,) = ip("-4", "address", "show", "dev", "lo", namespace=name)
    found = [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]
    assert found == ["127.0.0.1/8", address]


def test_a_neighbour_is_permanent(namespaces: Throwaway) -> None:
    """A neighbour is there before anybody asks, for good, and outside the interface's own prefix as well."""
    here = namespaces.pair().a
    add_neighbour(namespaces, Neighbour(here.namespace, "left", IPv4Address("10.1.2.3"), "02:00:00:00:00:07"))
    (found,) = ip("neighbour", namespace=here.namespace)
    assert (found["dst"], found["dev"], found["lladdr"]) == ("10.1.2.3", "left", "02:00:00:00:00:07")
    assert found["state"] == ["PERMANENT"]


def routes(namespace: str, *words: str) -> list[dict[str, Any]]:
    """Routes as `ip route` shows them, without those that every interface brings."""
    return [each for each in ip("route", *words, namespace=namespace) or () if each.get("protocol") != "kernel"]


def test_a_route_to_what_is_on_the_link(namespaces: Throwaway) -> None:
    """A unicast route without a next hop has the scope of the link."""
    here = namespaces.pair().a.namespace
    add_route(namespaces, Route(here, ELSEWHERE, "left"))
    (found,) = routes(here)
    assert (found["dst"], found["dev"], found["scope"]) == (str(ELSEWHERE), "left", "link")
    assert "gateway" not in found


def test_a_route_through_a_next_hop_that_no_prefix_covers(namespaces: Throwaway) -> None:
    """A next hop is taken to be on the link, in whatever table, without an address on the interface."""
    here = namespaces.pair().a.namespace
    add_route(namespaces, Route(here, ANYWHERE, "left", IPv4Address("10.1.2.3"), table=1000))
    (found,) = routes(here, "show", "table", "1000")
    assert (found["dst"], found["gateway"], found["dev"]) == ("default", "10.1.2.3", "left")
    assert "onlink" in found["flags"]


def test_a_blackhole(namespaces: Throwaway) -> None:
    """A blackhole takes what has no other way: nothing can be sent there."""
    name = namespaces.new()
    add_route(namespaces, Route(name, ANYWHERE, type="blackhole"))
    (found,) = routes(name)
    assert (found["dst"], found["type"]) == ("default", "blackhole")
    sender = namespaces[name].run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with sender, pytest.raises(OSError, match="Invalid argument"):  # EINVAL, ip-route(8)
        sender.connect(("198.18.0.1", 1))


def test_a_local_route_makes_every_address_of_a_block_ones_own(namespaces: Throwaway) -> None:
    """With one AnyIP route sockets can have any address of the block, and no other, though no interface has it."""
    name = namespaces.new()
    add_route(namespaces, Route(name, ELSEWHERE, "lo", table=LOCAL_TABLE, type="local"))
    assert heard(namespaces, name, name, "198.18.0.77", source="198.18.0.200") == ("198.18.0.200", b"hello")
    with pytest.raises(OSError, match="Cannot assign requested address"):
        heard(namespaces, name, name, "198.18.1.1")


def test_rules_choose_the_table(namespaces: Throwaway) -> None:
    """Rules by source, by destination and by input interface lead to their tables, in the order of priority."""
    here = namespaces.pair().a.namespace
    add_rule(namespaces, Rule(here, 50, 254, destination=IPv4Network("10.0.0.0/8")))
    add_rule(namespaces, Rule(here, 100, 1000, source=IPv4Network("100.65.0.0/16")))
    add_rule(namespaces, Rule(here, 101, 1001, input_interface="left"))
    found = [each for each in ip("rule", namespace=here) if each["priority"] in (50, 100, 101)]
    to, from_, through = found
    assert (to["src"], to["dst"], to["dstlen"], to["table"]) == ("all", "10.0.0.0", 8, "main")
    assert (from_["src"], from_["srclen"], from_["table"]) == ("100.65.0.0", 16, "1000")
    assert (through["src"], through["iif"], through["table"]) == ("all", "left", "1001")


def _address(namespaces: Namespaces, name: str) -> None:
    add_address(namespaces, Address(name, "gone", IPv4Interface("10.0.0.1/24")))


def _neighbour(namespaces: Namespaces, name: str) -> None:
    add_neighbour(namespaces, Neighbour(name, "gone", IPv4Address("10.0.0.2"), "02:00:00:00:00:07"))


def _route(namespaces: Namespaces, name: str) -> None:
    add_route(namespaces, Route(name, ELSEWHERE, "gone"))


def _bridge_port(namespaces: Namespaces, name: str) -> None:
    add_bridge(namespaces, Bridge(name, "segment"))
    add_bridge_port(namespaces, BridgePort(name, "segment", "gone", "02:00:00:00:00:01"))


@pytest.mark.parametrize("make", [_address, _neighbour, _route, _bridge_port])
def test_an_interface_that_is_not_there(namespaces: Throwaway, make: Callable[[Namespaces, str], None]) -> None:
    """Whatever needs an interface that is not there raises OSError."""
    with pytest.raises(OSError, match="no interface with this name"):
        make(namespaces, namespaces.new())


# ── nftables ────────────────────────────────────────────────────────────────────────────────────────────────

COUNTED = """
table ip counted {
  counter datagrams { }
  counter nothing { }
  set ports { type ipv4_addr . inet_service; size 5000; flags dynamic,timeout; timeout 60s; }
  chain out {
    type filter hook output priority filter; policy accept;
    udp dport 5000 counter name datagrams update @ports { ip saddr . udp sport timeout 40s }
  }
}
"""


def ruleset(namespace: str) -> str:
    """What nft lists."""
    return text_of(namespace, "nft", "list", "ruleset")


def test_a_ruleset(namespaces: Throwaway) -> None:
    """The text in the plan is what nft lists, in that namespace and in no other."""
    name, other = namespaces.new(), namespaces.new()
    nft.apply_text(namespaces[name], COUNTED)
    assert "update @ports { ip saddr . udp sport timeout 40s }" in ruleset(name)
    assert ruleset(other) == ""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("table ip second {\n chain c {\n nonsense\n }\n }", "syntax error"),
        ("table ip second {\n chain c {\n jump nowhere\n }\n }", "No such file or directory"),
        ("add element ip counted ports { 10.0.0.1 . 1 }\nadd rule ip nowhere c accept", "No such file or directory"),
    ],
)
def test_a_bad_ruleset_changes_nothing(namespaces: Throwaway, fault: str, message: str) -> None:
    """A ruleset that nft or the kernel refuses raises OSError with their words, and none of its tables is there."""
    name = namespaces.new()
    nft.apply_text(namespaces[name], COUNTED)
    before = ruleset(name)
    with pytest.raises(OSError, match=message):
        nft.apply_text(namespaces[name], f"table ip first {{ }}\n{fault}\n")
    assert ruleset(name) == before


def count_datagrams(namespaces: Throwaway, datagrams: int) -> str:
    """A namespace where so many datagrams, each from a port of its own, have passed `COUNTED`."""
    name = namespaces.new()
    nft.apply_text(namespaces[name], COUNTED)
    namespaces[name].run(_send, datagrams)
    return name


def _send(datagrams: int) -> None:
    for port in range(20_000, 20_000 + datagrams):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", port))
            sender.sendto(b"hello", ("127.0.0.1", 5000))


def listed(namespace: str, kind: str) -> list[dict[str, Any]]:
    """Objects of a kind as `nft --json` lists them."""
    found = json.loads(text_of(namespace, "nft", "--json", "list", f"{kind}s"))["nftables"]
    return [entry[kind] for entry in found if kind in entry]


def test_counters_read_as_nft_has_them(namespaces: Throwaway) -> None:
    """Packets and bytes of every named counter are those that nft lists."""
    name = count_datagrams(namespaces, 7)
    found = namespaces[name].run(nftables.counters, "counted")
    assert found == {each["name"]: (each["packets"], each["bytes"]) for each in listed(name, "counter")}
    assert found["datagrams"].packets == 7


def listed_elements(namespace: str) -> dict[bytes, int]:
    """Each element of the set `ports` as the kernel packs it, and in how many seconds it expires."""
    found = json.loads(text_of(namespace, "nft", "--json", "list", "set", "ip", "counted", "ports"))["nftables"]
    (entries,) = (entry["set"]["elem"] for entry in found if "set" in entry)
    return {_packed(*each["elem"]["val"]["concat"]): each["elem"]["expires"] for each in entries}


def _packed(address: str, port: int) -> bytes:
    return IPv4Address(address).packed + port.to_bytes(2, "big") + bytes(2)


def test_a_set_reads_as_nft_has_it(namespaces: Throwaway) -> None:
    """Of a set of thousands, each element and what is left of its timeout are those that nft lists."""
    name = count_datagrams(namespaces, 3000)
    inside = namespaces[name]
    found = dict(inside.run(lambda: list(nftables.elements("counted", "ports"))))
    expected = listed_elements(name)
    assert found.keys() == expected.keys()
    assert all(abs(found[key] / 1000 - expected[key]) < 10 for key in found)
    assert max(found.values()) <= 40_000
    assert inside.run(nftables.set_size, "counted", "ports") == len(expected) == 3000


def test_a_set_is_counted_where_the_kernel_does_not_say(namespaces: Throwaway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.16 a set's size is not in its description: its elements are counted, to the same number."""
    name = count_datagrams(namespaces, 3000)
    monkeypatch.setattr("lab.kernel.netfilter.nftables._SET_COUNT", 0x3FFF)
    assert namespaces[name].run(nftables.set_size, "counted", "ports") == 3000


def test_flushed_sets_are_empty(namespaces: Throwaway) -> None:
    """Flushing empties a set and leaves the rest."""
    name = count_datagrams(namespaces, 5)
    inside = namespaces[name]
    nft.flush_sets(inside, "counted", ("ports",))
    assert inside.run(nftables.set_size, "counted", "ports") == 0
    assert inside.run(nftables.counters, "counted")["datagrams"].packets == 5


def test_an_unknown_set(namespaces: Throwaway) -> None:
    """Asking for a set that is not there raises OSError with the kernel's reason."""
    with pytest.raises(OSError, match="nf_tables: No such file or directory"):
        namespaces[namespaces.new()].run(nftables.set_size, "counted", "ports")


# ── Sysctls ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sysctl_is_of_one_namespace(namespaces: Throwaway) -> None:
    """A setting changes where it is meant to, and not in the host's own namespace."""
    name, path = namespaces.new(), Path("/proc/sys/net/ipv4/conf/default/rp_filter")
    before = path.read_text(encoding="utf-8")
    wanted = "1" if before.strip() != "1" else "2"
    write_sysctl(namespaces, Sysctl(name, "net.ipv4.conf.default.rp_filter", wanted))
    assert namespaces[name].run(path.read_text).strip() == wanted
    assert path.read_text(encoding="utf-8") == before


def test_a_missing_sysctl(namespaces: Throwaway) -> None:
    """A setting that this kernel does not have is refused unless it is optional."""
    name, key = namespaces.new(), "net.ipv4.conf.gone.rp_filter"
    write_sysctl(namespaces, Sysctl(name, key, "1", optional=True))
    with pytest.raises(FileNotFoundError, match="rp_filter"):
        write_sysctl(namespaces, Sysctl(name, key, "1"))


def test_a_sysctl_that_the_kernel_refuses(namespaces: Throwaway) -> None:
    """A value that makes no sense is an OSError, also for an optional setting."""
    name = namespaces.new()
    with pytest.raises(OSError, match="Invalid argument"):
        write_sysctl(namespaces, Sysctl(name, "net.ipv4.ip_forward", "perhaps", optional=True))


# ── Processes ───────────────────────────────────────────────────────────────────────────────────────────────


def server(pair_end: str, interface: str = "left") -> Process:
    """The lab's small server."""
    spec = ServerSpec(interface, (IPv4Address("127.0.0.1"),), 8080, "cache", "cache.example.com")
    return Process(pair_end, "server", spec.to_json())


def test_a_process_starts_and_ends(namespaces: Throwaway, tmp_path: Path) -> None:
    """A traffic process is ready when `wait_ready` returns, lives in its namespace only, and is gone after `end`."""
    pair = namespaces.pair()
    here, there = pair.a.namespace, pair.b.namespace
    starting = processes.start(namespaces[here], server(here), tmp_path / "log")
    starting.wait_ready()
    (resident,) = processes.processes_in([there, here])
    assert (resident.pid, resident.namespace, resident.ours) == (starting.pid, here, True)
    assert os.getsid(starting.pid) == starting.pid
    assert processes.end([here, there]) == [resident]
    assert processes.processes_in([here]) == []
    assert not Path(f"/proc/{starting.pid}").exists()


@pytest.fixture
def descriptors_from_1024() -> Iterator[None]:
    """Every descriptor below 1,024 is taken, as in a lab of hundreds of namespaces."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < 1024:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors_from_1024")
def test_a_process_that_reports_on_a_high_descriptor(namespaces: Throwaway, tmp_path: Path) -> None:
    """Namespaces, links and processes come up with descriptors that select(2) cannot watch."""
    here = namespaces.pair().a.namespace
    starting = processes.start(namespaces[here], server(here), tmp_path / "log")
    assert starting.report > 1023
    starting.wait_ready()


def test_a_directory_with_a_module_of_the_same_name(
    namespaces: Throwaway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file `traffic.py` where the user happens to stand is not what is started."""
    (tmp_path / "traffic.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    here = namespaces.pair().a.namespace
    processes.start(namespaces[here], server(here), tmp_path / "log").wait_ready()


def test_a_process_that_says_why_it_cannot_start(namespaces: Throwaway, tmp_path: Path) -> None:
    """A process that dies before it is ready is a KernelError with its own words, for its log goes with the lab."""
    name = namespaces.new()
    starting = processes.start(namespaces[name], server(name, interface="gone"), tmp_path / "log")
    with pytest.raises(KernelError, match=rf"server in {name} did not start: .*No such device"):
        starting.wait_ready()


def test_a_process_that_dies_without_a_word(namespaces: Throwaway, tmp_path: Path) -> None:
    """Of a process that dies otherwise, the last line that it logged is its last words."""
    name, log = namespaces.new(), tmp_path / "log"
    log.write_text("first words\nlast words\n")
    starting = processes.start(namespaces[name], server(name), log)
    os.kill(starting.pid, signal.SIGKILL)
    with pytest.raises(KernelError, match="did not start: last words"):
        starting.wait_ready()


def test_a_process_that_does_not_get_ready(namespaces: Throwaway, tmp_path: Path) -> None:
    """A process that hangs before it is ready is given up in time."""
    name = namespaces.new()
    starting = processes.start(namespaces[name], server(name), tmp_path / "log")
    os.kill(starting.pid, signal.SIGSTOP)
    with pytest.raises(KernelError, match="no word from it within"):
        starting.wait_ready(within_s=0.05)
    os.kill(starting.pid, signal.SIGKILL)


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


def test_a_process_that_ignores_sigterm_ends_too(namespaces: Throwaway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lives in a namespace and does not end when asked is killed, and told from the lab's own processes."""
    monkeypatch.setattr("lab.kernel.processes._END_WITHIN_S", 0.2)
    name = namespaces.new()
    command = ("ip", "netns", "exec", name, sys.executable, "-c", DEAF)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        (ended,) = processes.end([name])
        assert (ended.pid, ended.namespace, ended.ours) == (deaf.pid, name, False)
        assert ended.command.startswith("python")
        assert eventually(lambda: not Path(f"/proc/{deaf.pid}").exists())


def test_ending_where_nobody_lives(namespaces: Throwaway) -> None:
    """Namespaces without processes, and names without namespaces, are nobody's home: nothing ends."""
    assert processes.end([namespaces.new(), namespaces.reserve()]) == []
