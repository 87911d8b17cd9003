"""Links, addresses, neighbours, routes and rules: one function for each kind of plan object, spoken to by netlink."""

from __future__ import annotations

from collections.abc import Iterable
import errno
import os
import socket
import time
from typing import Any

from pyroute2 import IPRoute

from lab.kernel.namespaces import NETNS_DIRECTORY, Namespaces
from lab.plan.objects import Address, Bridge, Neighbour, Route, Rule, VethPair

__all__ = ["add_address", "add_bridge", "add_neighbour", "add_route", "add_rule", "add_veth", "wait_until_up"]

_NEAR_INDEX = 1000
"""Near ends get indices from here. Two ends with the same index, each in its namespace, look to the kernel like a
device that has no other end, and learn of their carrier up to a second late (link_watch.c, linkwatch_urgent_event)."""
_UP_WITHIN_S = 5.0
_POLL_S = 0.002
_HOST_SCOPE = 254  # RT_SCOPE_HOST, linux/rtnetlink.h
_WITHOUT_CARRIER = ("DOWN", "LOWERLAYERDOWN")  # a veth whose peer is down: the kernel's version decides
_FORWARDING = 3  # BR_STATE_FORWARDING
_ONLINK = 4  # RTNH_F_ONLINK: the next hop is on this link, whatever the interface's prefix


def add_veth(namespaces: Namespaces, pair: VethPair) -> None:
    """Create a veth pair straight into its two namespaces, so that no end is ever in the host's own, and set it up."""
    far = os.open(NETNS_DIRECTORY / pair.b.namespace, os.O_RDONLY)
    try:
        namespaces[pair.a.namespace].ip(lambda ip: _add_veth(ip, pair, far))
    finally:
        os.close(far)
    namespaces[pair.b.namespace].ip(lambda ip: _set(ip, pair.b.interface, state="up"))


def _add_veth(ip: IPRoute, pair: VethPair, far: int) -> None:
    ip.link(
        "add",
        ifname=pair.a.interface,
        index=_NEAR_INDEX + len(socket.if_nameindex()),
        kind="veth",
        address=pair.a.mac,
        peer={"ifname": pair.b.interface, "address": pair.b.mac, "net_ns_fd": far},
        state="up",
    )


def add_bridge(namespaces: Namespaces, bridge: Bridge) -> None:
    """Create a bridge and plug its ports in."""

    def make(ip: IPRoute) -> None:
        ip.link("add", ifname=bridge.interface, kind="bridge", state="up")
        index = socket.if_nametoindex(bridge.interface)
        for port in bridge.ports:
            _set(ip, port, master=index)

    namespaces[bridge.namespace].ip(make)


def _set(ip: IPRoute, interface: str, **changes: Any) -> None:
    ip.link("set", index=socket.if_nametoindex(interface), **changes)


def add_address(namespaces: Namespaces, address: Address) -> None:
    """Give an interface an address."""
    namespaces[address.namespace].ip(
        lambda ip: ip.addr(
            "add",
            index=socket.if_nametoindex(address.interface),
            address=str(address.address.ip),
            prefixlen=address.address.network.prefixlen,
        )
    )


def add_neighbour(namespaces: Namespaces, neighbour: Neighbour) -> None:
    """Tell an interface a MAC address for good."""
    namespaces[neighbour.namespace].ip(
        lambda ip: ip.neigh(
            "add",
            dst=str(neighbour.address),
            lladdr=neighbour.mac,
            ifindex=socket.if_nametoindex(neighbour.interface),
            state="permanent",
        )
    )


def add_route(namespaces: Namespaces, route: Route) -> None:
    """Add a route."""

    def make(ip: IPRoute) -> None:
        fields: dict[str, Any] = {"dst": str(route.destination), "table": route.table, "type": route.type}
        if route.interface is not None:
            fields["oif"] = socket.if_nametoindex(route.interface)
        if route.via is not None:
            fields |= {"gateway": str(route.via), "flags": _ONLINK}
        if route.type == "local":
            fields["scope"] = _HOST_SCOPE
        elif route.via is None and route.type == "unicast":
            fields["scope"] = "link"
        ip.route("add", **fields)

    namespaces[route.namespace].ip(make)


def add_rule(namespaces: Namespaces, rule: Rule) -> None:
    """Add a policy routing rule."""
    fields: dict[str, Any] = {"priority": rule.priority, "table": rule.table}
    if rule.source is not None:
        fields |= {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
    if rule.destination is not None:
        fields |= {"dst": str(rule.destination.network_address), "dst_len": rule.destination.prefixlen}
    if rule.input_interface is not None:
        fields["iifname"] = rule.input_interface
    namespaces[rule.namespace].ip(lambda ip: ip.rule("add", **fields))


def wait_until_up(namespaces: Namespaces, names: Iterable[str]) -> None:
    """Wait until packets can pass: a port that has just got its carrier drops what it is given for a moment."""
    deadline = time.monotonic() + _UP_WITHIN_S
    for name in names:
        while down := namespaces[name].ip(_down):
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, f"in {name} not up after {_UP_WITHIN_S:.0f} s: {', '.join(down)}")
            time.sleep(_POLL_S)


def _down(ip: IPRoute) -> list[str]:
    """Interfaces that do not pass packets yet; the loopback's state is always UNKNOWN."""
    return [
        link.get("ifname")
        for link in ip.get_links()
        if link.get("operstate") in _WITHOUT_CARRIER or _port_state(link) not in (None, _FORWARDING)
    ]


def _port_state(link: Any) -> int | None:
    """The state of a bridge port (linux/if_bridge.h); None for anything else."""
    state: int | None = link.get(("linkinfo", "slave_data", "br_port_state"))
    return state
