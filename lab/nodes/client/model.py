"""A client that is no Lambda function, as a user writes it: its subnet, its addresses, its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from lab.schema.base import NAME, Whole
from lab.schema.descriptors import DescriptorLimit
from lab.schema.faults import Fault
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import (
    CLIENT_ADDRESSES,
    DESCRIPTORS_AT_START,
    DESCRIPTORS_MOST,
    FUNCTION_SECURITY_GROUPS,
    LOCAL_PORTS,
)
from lab.schema.names import NO_ROUTE, node_name_of_client
from lab.schema.references import twice, unknown
from lab.schema.scale import SCALES
from lab.schema.source import Source
from lab.schema.words import Name, PortRange, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft

__all__ = ["CHECKS", "Client"]


class Client(Source):
    """An EC2 instance, an ECS task, or pods behind one node: a host in a subnet, without a Hyperplane ENI."""

    WORDS: ClassVar[str] = "client"

    name: Name = Field(description=f"a client's name is {NAME}")
    subnet: Name = Field(description="a client lives in one of vpc.subnets, a private one")
    addresses: Whole = Field(
        1,
        ge=1,
        le=CLIENT_ADDRESSES,
        description=f"a client has 1 to {CLIENT_ADDRESSES} private addresses, of which its connections take turns",
    )
    ephemeral_ports: Annotated[PortRange, SCALES] = Field(
        default_factory=lambda: LOCAL_PORTS,
        json_schema_extra={"default": f"{LOCAL_PORTS[0]}-{LOCAL_PORTS[-1]}"},
        description="ephemeral ports, of which a client's kernel takes one for each connection, are a range within "
        '1024-65535, such as "32768-60999" (Linux\' default)',
    )
    descriptors: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=DESCRIPTORS_AT_START + 1,
        le=DESCRIPTORS_MOST,
        description=f"a client's descriptors (ulimit -n of its program, one for each address) are a whole number, "
        f"{DESCRIPTORS_AT_START + 1} to {DESCRIPTORS_MOST:,}; {DESCRIPTORS_AT_START} are taken at its start",
    )
    security_groups: tuple[Name, ...] = Field(
        ("default",),
        min_length=1,
        max_length=FUNCTION_SECURITY_GROUPS,
        description=f"a client has a list of 1 to 5 security groups; a name is {NAME}",
    )

    @property
    def node(self) -> str:
        """`bastion` is `client-bastion`."""
        return node_name_of_client(self.name)

    @property
    def leaves_by(self) -> tuple[str, ...]:
        """The one that it is in."""
        return (self.subnet,)

    @property
    def names_of_addresses(self) -> tuple[str, ...]:
        """In the order in which its connections take turns: its node's name, with numbers if there are several."""
        if self.addresses == 1:
            return (self.node,)
        return tuple(f"{self.node}/{number}" for number in range(1, self.addresses + 1))

    @property
    def ports(self) -> range:
        """The ephemeral ports that it uses: of an odd number all but the last.

        connect() looks for one in steps of two, and of an odd number it may miss one by chance (`__inet_hash_connect`,
        net/ipv4/inet_hashtables.c); the kernel's own advice is an even number (ip_local_port_range in ip-sysctl.rst).
        """
        ports = self.ephemeral_ports
        return ports if len(ports) == 1 else ports[: len(ports) & ~1]

    @property
    def limit(self) -> ConnectionLimit:
        """How many connections to one server each of its addresses has ports for; of UDP, to all servers together."""
        return ConnectionLimit(len(self.ports))

    @property
    def descriptor_limit(self) -> DescriptorLimit | None:
        """How many descriptors the program of each address has, and at least one for a connection; None: no limit."""
        if self.descriptors is None:
            return None
        return DescriptorLimit(
            self.descriptors, min(DESCRIPTORS_AT_START, self.descriptors - 1), f"program on {self.name}"
        )


def _names(draft: Draft) -> Iterator[Fault]:
    """Two clients with one name, or a client with the name of a function: a burst comes from either."""
    functions = [(item.path, item.value.name) for item in draft.functions]
    clients = [(item.path, item.value.name) for item in draft.clients]
    yield from twice("name", "client", clients)
    taken = {name for _, name in functions}
    for path, name in clients:
        if name in taken:
            yield Fault((*path, "name"), f"{shown(name)} is a function already; a client has a name of its own")


def _subnets(draft: Draft) -> Iterator[Fault]:
    """A client in a subnet that is not there, or from which its connections would go nowhere."""
    subnets = draft.subnets_by_name
    for item in draft.clients:
        name = item.value.subnet
        yield from unknown("subnet", name, draft.subnet_names, (*item.path, "subnet"))
        if name in subnets and subnets[name].default_route is None:
            text = (
                f"{shown(name)} has no default_route, and the lab has no internet gateway: the client's connections "
                f"would go nowhere; put it into a private subnet, or say `default_route: {NO_ROUTE}` if that is what "
                "you want to see"
            )
            yield Fault((*item.path, "subnet"), text)


CHECKS = (_names, _subnets)
