"""Names of namespaces, interfaces and MAC addresses: readable, deterministic, within the kernel's lengths.

A veth pair is created straight into its two namespaces, so an interface name only has to be unique in its own
namespace: two labs cannot collide, whatever their nodes are called.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

__all__ = [
    "ETC_NETNS",
    "INTERFACE_NAME_MAX",
    "NETNS_DIRECTORY",
    "RECORDS",
    "authority_file",
    "certificate_file",
    "interface_name",
    "mac_address",
    "namespace_name",
]

RECORDS = Path("/run/lab")
"""Where labs are remembered, a directory each (lab.kernel.state)."""

NETNS_DIRECTORY = Path("/run/netns")
"""Where iproute2 keeps named namespaces (ip-netns(8))."""

ETC_NETNS = Path("/etc/netns")
"""Where `ip netns exec` looks for files of a namespace's own, below its name (ip-netns(8))."""

INTERFACE_NAME_MAX = 15
"""IFNAMSIZ is 16 with the closing NUL (linux/if.h)."""
_DIGEST = 6


def namespace_name(lab: str, node: str) -> str:
    """`lab-two-subnets-eni-private-a`: what `ip netns` shows."""
    return f"lab-{lab}-{node}"


def certificate_file(lab: str, server: str) -> str:
    """The certificate of a server, with its key."""
    return str(RECORDS / lab / "tls" / f"{server}.pem")


def authority_file(lab: str) -> str:
    """The certificate of the lab's own authority, which programs trust; its key is beside it, for root alone."""
    return str(RECORDS / lab / "ca.pem")


def interface_name(far_node: str) -> str:
    """A port is called after the node at its far end; a long name keeps its head and gets a digest for a tail."""
    if len(far_node) <= INTERFACE_NAME_MAX:
        return far_node
    digest = sha256(far_node.encode()).hexdigest()[:_DIGEST]
    return f"{far_node[: INTERFACE_NAME_MAX - _DIGEST - 1]}-{digest}"


def mac_address(namespace: str, interface: str) -> str:
    """A locally administered unicast address (IEEE 802: second bit of the first octet), the same on every run."""
    digest = sha256(f"{namespace}/{interface}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))
