"""What the nodes of a lab are called: a network namespace is `lab-NAME-NODE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.schema.words import LONGEST_LAB_NAME, fit_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DEFAULT_SECURITY_GROUPS",
    "EGRESS",
    "INTERNET",
    "NO_ROUTE",
    "RESERVED_NODE_NAMES",
    "RESOLVER",
    "SERVICE_VPC",
    "VPC",
    "front_of_server",
    "name_of_eni",
    "name_of_further_eni",
    "node_name_of_client",
    "node_name_of_function",
    "node_name_of_nat_gateway",
    "node_name_of_server",
    "node_name_of_vpc",
    "require_lab_name",
]

SERVICE_VPC = "svc"
RESOLVER = "resolver"
VPC = "vpc"
INTERNET = "inet"
EGRESS = "egress"
RESERVED_NODE_NAMES = (SERVICE_VPC, RESOLVER, VPC, INTERNET, EGRESS)

NO_ROUTE = "none"
"""What stands for a NAT gateway where a private subnet has no default route."""

DEFAULT_SECURITY_GROUPS = ("default",)
"""What a function has that names none: every VPC has one of this name."""


def node_name_of_function(function: str) -> str:
    """The node of a function's fleet: `checkout` is `fn-checkout`."""
    return f"fn-{function}"


def node_name_of_client(client: str) -> str:
    """The node of a client that is no function: `bastion` is `client-bastion`."""
    return f"client-{client}"


def node_name_of_nat_gateway(nat_gateway: str) -> str:
    """The node of a NAT gateway: `natgw` stays `natgw`, `blue` is `nat-blue`."""
    return nat_gateway if nat_gateway.startswith("nat") else f"nat-{nat_gateway}"


def node_name_of_vpc(vpc: str) -> str:
    """The node of a VPC's router: `vpc` stays `vpc`, `orders` is `vpc-orders`."""
    return vpc if vpc == VPC else f"vpc-{vpc}"


def node_name_of_server(server: str) -> str:
    """The node of a remote server: `cache` is `srv-cache`."""
    return f"srv-{server}"


def front_of_server(server: str) -> str:
    """What counts a server's connections, in a namespace of its own: `front-cache`."""
    return f"front-{server}"


def name_of_eni(subnet: str, security_groups: Iterable[str]) -> str:
    """The node of a Hyperplane ENI: `eni-private-a`, or `eni-private-a-db-web` with other groups."""
    groups = tuple(security_groups)
    return "-".join(("eni", subnet, *(() if groups == DEFAULT_SECURITY_GROUPS else groups)))


def name_of_further_eni(eni: str, number: int) -> str:
    """The ENI that appears beside a full one: `eni-private-a-2` is the second of its subnet and security groups."""
    return f"{eni}-{number}"


def require_lab_name(text: str) -> str:
    """The text, if a lab can be called so."""
    try:
        return fit_name(text, LONGEST_LAB_NAME)
    except ValueError as unfit:
        raise UsageError(
            f"{unfit}; a lab's name has up to {LONGEST_LAB_NAME} lower-case letters, digits and hyphens"
        ) from None
