"""What people call the kinds of nodes, and of what drops packets in them."""

from __future__ import annotations

__all__ = ["in_words", "one_of"]

_NAMES = {
    "fleet": "function",
    "service_vpc": "service VPC",
    "vpc": "VPC",
    "hyperplane_eni": "Hyperplane ENI",
    "nat_gateway": "NAT gateway",
    "network_acl": "network ACL",
    "dns_quota": "DNS quota",
}
"""Where the kind's own name with spaces would not do."""


def in_words(kind: str) -> str:
    """A kind's name in a sentence: `NAT gateway`, `interface endpoint`."""
    return _NAMES.get(kind, kind.replace("_", " "))


def one_of(kind: str) -> str:
    """The same with its article: `a NAT gateway`, `an interface endpoint`."""
    name = in_words(kind)
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
