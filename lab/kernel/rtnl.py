"""Links, addresses, neighbours, routes and rules: made, replaced and removed, one by one, by netlink."""

from __future__ import annotations

from collections.abc import Iterable
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from lab.kernel.netns import NETNS_DIRECTORY, Namespaces
from lab.plan.objects import Address, Bridge, BridgePort, Neighbour, Port, Route, Rule, VethPair

if TYPE_CHECKING:
    from pyroute2 import IPRoute

__all__ = [
    "IFF_UP",
    "PROTOCOLS",
    "add_address",
    "add_bridge",
    "add_bridge_port",
    "add_neighbour",
    "add_route",
    "add_rule",
    "add_veth",
    "remove_address",
    "remove_bridge",
    "remove_bridge_port",
    "remove_neighbour",
    "remove_route",
    "remove_rule",
    "remove_veth",
    "replace_neighbour",
    "replace_route",
    "set_up",
    "wait_until_up",
]

_NEAR_INDEX = 1000
"""Near ends get indices from here. Two ends with the same index, each in its namespace, look to the kernel like a
device that has no other end, and learn of their carrier up to a second late (link_watch.c, linkwatch_urgent_event)."""
_UP_WITHIN_S = 5.0
_POLL_S = 0.002
_HOST_SCOPE = 254  # RT_SCOPE_HOST, linux/rtnetlink.h
_WITHOUT_CARRIER = ("DOWN", "LOWERLAYERDOWN")  # a veth whose peer is down: the kernel's version decides
IFF_UP = 1
_FORWARDING = 3  # BR_STATE_FORWARDING
_FOR_GOOD = 0x42  # NUD_NOARP | NUD_REACHABLE: `bridge fdb … static` (PERMANENT would mean the bridge's own address)
_OF_ITS_BRIDGE = 0x04  # NTF_MASTER
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
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
        index=max(_NEAR_INDEX, *(index for index, _ in socket.if_nameindex())) + 1,
        kind="veth",
        address=pair.a.mac,
        peer={"ifname": pair.b.interface, "address": pair.b.mac, "net_ns_fd": far},
        state="up",
    )


def remove_veth(namespaces: Namespaces, at: Port) -> None:
    """Remove a veth pair, seen from one of its ends; what is on both ends goes with them, at once."""
    namespaces[at.namespace].ip(lambda ip: ip.link("del", index=socket.if_nametoindex(at.interface)))


def add_bridge(namespaces: Namespaces, bridge: Bridge) -> None:
    """Create a bridge that sends no packets of its own (IGMP, for snooping)."""
    namespaces[bridge.namespace].ip(
        lambda ip: ip.link("add", ifname=bridge.interface, kind="bridge", br_mcast_snooping=0, state="up")
    )


def add_bridge_port(namespaces: Namespaces, port: BridgePort) -> None:
    """Plug an interface into a bridge, and tell the bridge which MAC address is behind it.

    A frame may have come first (a host that comes up reports its IPv6 groups), and the bridge have learned the address.
    """

    def plug(ip: IPRoute) -> None:
        _set(ip, port.interface, master=socket.if_nametoindex(port.bridge))
        index = socket.if_nametoindex(port.interface)
        ip.fdb("replace", ifindex=index, lladdr=port.mac, state=_FOR_GOOD, flags=_OF_ITS_BRIDGE)

    namespaces[port.namespace].ip(plug)


def remove_bridge(namespaces: Namespaces, bridge: Bridge) -> None:
    """Remove a bridge; its ports stay."""
    namespaces[bridge.namespace].ip(lambda ip: ip.link("del", index=socket.if_nametoindex(bridge.interface)))


def remove_bridge_port(namespaces: Namespaces, port: BridgePort) -> None:
    """Unplug an interface from its bridge."""
    namespaces[port.namespace].ip(lambda ip: _set(ip, port.interface, master=0))


def set_up(namespaces: Namespaces, namespace: str, interface: str) -> None:
    """Set an interface up."""
    namespaces[namespace].ip(lambda ip: _set(ip, interface, state="up"))


def _set(ip: IPRoute, interface: str, **changes: Any) -> None:
    ip.link("set", index=socket.if_nametoindex(interface), **changes)


def add_address(namespaces: Namespaces, address: Address) -> None:
    """Give an interface an address."""
    _address("add", namespaces, address)


def remove_address(namespaces: Namespaces, address: Address) -> None:
    """Take an address from an interface."""
    _address("del", namespaces, address)


def _address(verb: str, namespaces: Namespaces, address: Address) -> None:
    namespaces[address.namespace].ip(
        lambda ip: ip.addr(
            verb,
            index=socket.if_nametoindex(address.interface),
            address=str(address.address.ip),
            prefixlen=address.address.network.prefixlen,
        )
    )


def add_neighbour(namespaces: Namespaces, neighbour: Neighbour) -> None:
    """Tell an interface a MAC address for good."""
    _neighbour("add", namespaces, neighbour, lladdr=neighbour.mac, state="permanent")


def replace_neighbour(namespaces: Namespaces, neighbour: Neighbour) -> None:
    """Tell an interface another MAC address for the same neighbour."""
    _neighbour("replace", namespaces, neighbour, lladdr=neighbour.mac, state="permanent")


def remove_neighbour(namespaces: Namespaces, neighbour: Neighbour) -> None:
    """Let an interface forget a neighbour."""
    _neighbour("del", namespaces, neighbour)


def _neighbour(verb: str, namespaces: Namespaces, neighbour: Neighbour, **told: str) -> None:
    namespaces[neighbour.namespace].ip(
        lambda ip: ip.neigh(
            verb, dst=str(neighbour.address), ifindex=socket.if_nametoindex(neighbour.interface), **told
        )
    )


def add_route(namespaces: Namespaces, route: Route) -> None:
    """Add a route."""
    _route("add", namespaces, route)


def replace_route(namespaces: Namespaces, route: Route) -> None:
    """Put a route in place of the one that its table has for the same destination, in one step."""
    _route("replace", namespaces, route)


def remove_route(namespaces: Namespaces, route: Route) -> None:
    """Take a route away."""
    _route("del", namespaces, route)


def _route(verb: str, namespaces: Namespaces, route: Route) -> None:
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
        ip.route(verb, **fields)

    namespaces[route.namespace].ip(make)


def add_rule(namespaces: Namespaces, rule: Rule) -> None:
    """Add a policy routing rule."""
    _rule("add", namespaces, rule)


def remove_rule(namespaces: Namespaces, rule: Rule) -> None:
    """Take a policy routing rule away."""
    _rule("del", namespaces, rule)


def _rule(verb: str, namespaces: Namespaces, rule: Rule) -> None:
    fields: dict[str, Any] = {"priority": rule.priority, "table": rule.table}
    if rule.source is not None:
        fields |= {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
    if rule.destination is not None:
        fields |= {"dst": str(rule.destination.network_address), "dst_len": rule.destination.prefixlen}
    if rule.input_interface is not None:
        fields["iifname"] = rule.input_interface
    if rule.protocol is not None:
        fields["ip_proto"] = PROTOCOLS[rule.protocol]
    if rule.destination_port is not None:
        fields["dport_range"] = f"{rule.destination_port}:{rule.destination_port}"
    namespaces[rule.namespace].ip(lambda ip: ip.rule(verb, **fields))


def wait_until_up(namespaces: Namespaces, names: Iterable[str]) -> None:
    """Wait until packets can pass: a port that has just got its carrier drops what it is given for a moment."""
    deadline = time.monotonic() + _UP_WITHIN_S
    for name in names:
        while down := namespaces[name].ip(_down):
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, f"in {name} not up after {_UP_WITHIN_S:.0f} s: {', '.join(down)}")
            time.sleep(_POLL_S)


def _down(ip: IPRoute) -> list[str]:
    """Interfaces that are set up and do not pass packets yet; the loopback's state is always UNKNOWN.

    The kernel itself makes tunnels in each new namespace where their modules are loaded (tunl0, sit0), which stay down.
    """
    return [
        link.get("ifname")
        for link in ip.get_links()
        if link["flags"] & IFF_UP
        and (link.get("operstate") in _WITHOUT_CARRIER or _port_state(link) not in (None, _FORWARDING))
    ]


def _port_state(link: Any) -> int | None:
    """The state of a bridge port (linux/if_bridge.h); None for anything else."""
    state: int | None = link.get(("linkinfo", "slave_data", "br_port_state"))
    return state
