"""Links, addresses, neighbours, routes and rules: one function for each kind of plan object, spoken to by netlink."""

from __future__ import annotations

import os
import socket
from typing import Any

from pyroute2 import IPRoute

from lab.kernel.namespaces import NETNS_DIRECTORY, Namespaces
from lab.plan.objects import Address, Bridge, Neighbour, Route, Rule, VethPair

__all__ = ["add_address", "add_bridge", "add_neighbour", "add_route", "add_rule", "add_veth"]

_HOST_SCOPE = 254  # RT_SCOPE_HOST, linux/rtnetlink.h
_ONLINK = 4  # RTNH_F_ONLINK: the next hop is on this link, whatever the interface's prefix


def add_veth(namespaces: Namespaces, pair: VethPair) -> None:
    """Create a veth pair straight into its two namespaces, so that no end is ever in the host's own, and set it up."""
    far = os.open(NETNS_DIRECTORY / pair.b.namespace, os.O_RDONLY)
    try:
        peer = {"ifname": pair.b.interface, "address": pair.b.mac, "net_ns_fd": far}
        namespaces[pair.a.namespace].ip(
            lambda ip: ip.link(
                "add", ifname=pair.a.interface, kind="veth", address=pair.a.mac, peer=peer, state="up"
            )
        )
    finally:
        os.close(far)
    namespaces[pair.b.namespace].ip(lambda ip: _set(ip, pair.b.interface, state="up"))


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
