"""What node modules yield, and the few pieces that several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lab.plan.layout import Link
from lab.plan.names import ETC_NETNS
from lab.plan.objects import (
    Address,
    DropCounter,
    File,
    FleetPlan,
    KernelObject,
    Namespace,
    NatNode,
    Neighbour,
    NodePlan,
    Port,
    Route,
    Ruleset,
    ServerPlan,
    Sysctl,
    VethPair,
)
from lab.slots import nft
from lab.slots.limiter import Limiter
from lab.slots.ruleset import SlotSet
from traffic.spec import ENGINE_DSCP

__all__ = [
    "ANYWHERE",
    "REAL_SOCKETS",
    "Part",
    "conntrack_sysctls",
    "conntrack_timeouts",
    "host",
    "host_behind",
    "namespace",
    "own_address",
    "ring_owns_marked",
    "router",
    "through",
    "veth",
]

Part = KernelObject | NodePlan | NatNode | Limiter | DropCounter | FleetPlan | ServerPlan

ANYWHERE = IPv4Network("0.0.0.0/0")
_NO_NAME_SERVER = IPv4Address("127.0.0.1")
"""The address of a name server that does not exist: the kernel answers at once with an ICMP error."""

REAL_SOCKETS = {
    # The next burst may have this one's ports: a connection in TIME_WAIT makes room for a new one (ip-sysctl.rst).
    "net.ipv4.tcp_tw_reuse": "1",
    # Retransmissions of a SYN for a minute and more, longer than clients wait; the usual number, whatever this
    # machine's is.
    "net.ipv4.tcp_syn_retries": "6",
}
"""Settings of namespaces in which bursts open real sockets."""

_QUIET = (
    # The lab is IPv4; IPv6's own packets (DAD, MLD, router solicitations) would be in captures and counters.
    ("net.ipv6.conf.all.disable_ipv6", "1", True),
    ("net.ipv6.conf.default.disable_ipv6", "1", True),
    # Replies take another table than requests do, so a reverse path check would drop them (ip-sysctl.rst).
    ("net.ipv4.conf.all.rp_filter", "0", False),
    ("net.ipv4.conf.default.rp_filter", "0", False),
)
_FORWARDING = (
    ("net.ipv4.ip_forward", "1", False),
    ("net.ipv4.conf.all.send_redirects", "0", False),
    ("net.ipv4.conf.default.send_redirects", "0", False),
    # A router has no sockets: looking for one before routing costs a few per cent (ip-sysctl.rst, ip_early_demux).
    ("net.ipv4.ip_early_demux", "0", False),
)


def namespace(name: str, name_server: IPv4Address = _NO_NAME_SERVER) -> Iterator[Part]:
    """A namespace without IPv6 and reverse path check, and with a name server of its own.

    `ip netns exec` mounts the two files over /etc in the command's own mount namespace (ip-netns(8)); without them a
    program would ask the host's name servers, which it cannot reach, and wait for each.
    """
    yield Namespace(name)
    yield from (Sysctl(name, key, value, optional) for key, value, optional in _QUIET)
    yield File(f"{ETC_NETNS}/{name}/resolv.conf", f"nameserver {name_server}\n")
    yield File(f"{ETC_NETNS}/{name}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")


def router(name: str) -> Iterator[Part]:
    """A namespace that forwards."""
    yield from namespace(name)
    yield from (Sysctl(name, key, value, optional) for key, value, optional in _FORWARDING)


def veth(link: Link) -> VethPair:
    """The veth pair of a link."""
    return VethPair(link.near, link.far)


def host(address: IPv4Address) -> IPv4Network:
    """An address as a /32."""
    return IPv4Network((address, 32))


def host_behind(link: Link, address: IPv4Address) -> Iterator[Part]:
    """At the far end of a link: the address lives behind this port, at the near end's MAC address."""
    at = link.far
    yield Route(at.namespace, host(address), at.interface)
    yield Neighbour(at.namespace, at.interface, address, link.near.mac)


def own_address(at: Port, address: IPv4Address, prefix: int = 32) -> Address:
    """An address on a port; a /32 unless the port is on a shared segment."""
    return Address(at.namespace, at.interface, IPv4Interface((address, prefix)))


def through(link: Link, destination: IPv4Network, via: IPv4Address) -> Iterator[Part]:
    """At the near end of a link: the destination is reached through the far end."""
    at = link.near
    yield Neighbour(at.namespace, at.interface, via, link.far.mac)
    yield Route(at.namespace, destination, at.interface, via)


def ring_owns_marked(name: str) -> Ruleset:
    """The kernel leaves the packet engine's marked frames to the AF_PACKET rings, which see them before this hook."""
    hook = "type filter hook prerouting priority raw; policy accept;"
    chain = nft.chain("marked_frames", f"ip dscp {ENGINE_DSCP} drop", hook=hook)
    return Ruleset(name, nft.table("packet_engine", chain))


def conntrack_sysctls(namespace: str, slots: SlotSet) -> Iterator[Sysctl]:
    """Conntrack's timeouts, equal to the slots'."""
    return conntrack_timeouts(namespace, slots.idle_s, slots.half_open_s, slots.port_hold_s)


def conntrack_timeouts(namespace: str, idle_s: int, half_open_s: int, port_hold_s: int) -> Iterator[Sysctl]:
    """Conntrack's timeouts (nf_conntrack-sysctl.rst); whole seconds, at least one."""
    closed_s = max(port_hold_s, 1)
    timeouts = {
        "tcp_timeout_syn_sent": half_open_s,
        "tcp_timeout_syn_recv": half_open_s,
        "tcp_timeout_established": idle_s,
        "tcp_timeout_unacknowledged": idle_s,
        "tcp_timeout_max_retrans": idle_s,
        "tcp_timeout_fin_wait": idle_s,
        "tcp_timeout_close_wait": idle_s,
        "tcp_timeout_last_ack": closed_s,
        "tcp_timeout_time_wait": closed_s,
        "tcp_timeout_close": closed_s,
        "udp_timeout": idle_s,
        "udp_timeout_stream": idle_s,
    }
    for key, seconds in timeouts.items():
        yield Sysctl(namespace, f"net.netfilter.nf_conntrack_{key}", str(seconds))
    yield Sysctl(namespace, "net.ipv4.fwmark_reflect", "1")
    # A packet in the middle of a connection that conntrack has forgotten is invalid, not a new connection.
    yield Sysctl(namespace, "net.netfilter.nf_conntrack_tcp_loose", "0")
