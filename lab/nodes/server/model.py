"""A remote server as a user writes it."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, ValidationInfo, field_validator

from lab.schema.base import NAME, Model, Whole, YesNo
from lab.schema.faults import Fault, Path
from lab.schema.firewall import groups_at
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import (
    RESERVED_SUBNET_ADDRESSES,
    SERVER_ADDRESSES,
    SERVER_CONNECTIONS,
    SERVER_SECURITY_GROUPS,
)
from lab.schema.names import node_name_of_server
from lab.schema.references import unknown
from lab.schema.scale import SCALES
from lab.schema.words import Address, GatewayService, Hostname, Name, shown
from lab.slots.limiter import WhenFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft, Item

__all__ = ["CHECKS", "Server", "addresses_at"]


class Server(Model):
    """A server on the internet, or in a subnet of a VPC, known to the resolver by its hostname."""

    name: Name = Field(description=f"a server's name is {NAME}")
    hostname: Hostname = Field(
        description="a hostname has two or more labels of letters, digits and -, such as cache.example.com"
    )
    subnet: Name | None = Field(
        None,
        description="a server in a VPC, such as a database, has the name of its subnet (leave it out: on the internet)",
    )
    several: tuple[Address, ...] | None = Field(
        None,
        alias="addresses",
        min_length=1,
        max_length=SERVER_ADDRESSES,
        description=f"a server with several addresses has 1 to {SERVER_ADDRESSES} under addresses, in place of address",
    )
    address: Address | None = Field(
        None,
        validate_default=True,
        description="a server has a public IPv4 address, such as 203.0.113.10, or several under addresses; in a subnet "
        "one of its addresses, or none",
    )
    security_groups: tuple[Name, ...] = Field(
        (),
        max_length=SERVER_SECURITY_GROUPS,
        description="a server in a subnet has a list of up to 5 described security groups, whose ingress says what may "
        "connect to it (leave it out: anything may)",
    )
    service: GatewayService | None = Field(
        None,
        description="a server that stands for s3 or dynamodb, for which there are gateway endpoints, says so (leave it "
        "out for any other)",
    )
    port: Whole = Field(ge=1, le=65_535, description="a TCP port is 1 to 65535")
    embedded: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="embedded, the lab's own server on the port, is true, or false to leave the port to a real program",
    )
    max_connections: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=1,
        le=SERVER_CONNECTIONS,
        description="the embedded server keeps 1 to 100,000 TCP connections (the range of MySQL's max_connections); "
        "left out, any number",
    )
    when_full: WhenFull | None = Field(
        None,
        description="a further connection meets close (accepted and closed at once; the default), reset (a RST for its "
        "SYN) or ignore (no answer)",
    )

    @field_validator("address")
    @classmethod
    def _is_somewhere(cls, address: IPv4Address | None, others: ValidationInfo) -> IPv4Address | None:
        """On the internet it has one address or a list of them; what is wrong with those is a fault of its own."""
        if "several" in others.data and "subnet" in others.data:
            listed = others.data["several"]
            if address is None and listed is None and others.data["subnet"] is None:
                raise ValueError("missing")
            if address is not None and listed is not None:
                raise ValueError("there is a list of addresses beside it, which may have this one, too")
        return address

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """What the file gives it, in its order; none in a subnet where it has any."""
        return (self.address,) if self.address else self.several or ()

    def at(self, address: IPv4Address) -> Self:
        """The same with one of its addresses only."""
        return self.model_copy(update={"address": address, "several": None})

    @property
    def node(self) -> str:
        """`cache` is `srv-cache`."""
        return node_name_of_server(self.name)

    @property
    def limit(self) -> ConnectionLimit | None:
        """What it keeps of TCP connections, as a path meets it."""
        return None if self.max_connections is None else ConnectionLimit(self.max_connections)

    @property
    def refusal(self) -> WhenFull:
        """What a connection beyond its limit meets."""
        return self.when_full or "close"


def _subnets(draft: Draft) -> Iterator[Fault]:
    """A server in a subnet that is not there, or at an address that it cannot have."""
    for item in draft.servers:
        server = item.value
        if server.subnet is None:
            continue
        if server.several is not None:
            text = "a server in a subnet has one address, its network interface's; write it as address, or leave it out"
            yield Fault((*item.path, "addresses"), text)
        yield from unknown("subnet", server.subnet, draft.subnet_names, (*item.path, "subnet"))
        subnet = draft.subnets_by_name.get(server.subnet)
        if subnet is None or server.address is None:
            continue
        path, cidr = (*item.path, "address"), subnet.cidr
        if server.address not in cidr:
            yield Fault(
                path, f"{server.address} is not in the subnet {subnet.name} ({cidr}); leave it out for any that is"
            )
        elif server.address in (*islice(cidr, RESERVED_SUBNET_ADDRESSES - 1), cidr.broadcast_address):
            text = (
                f"{server.address} is AWS' own, which keeps the first {RESERVED_SUBNET_ADDRESSES - 1} addresses of "
                f"{cidr} and the last; leave it out for any other"
            )
            yield Fault(path, text)


def _security_groups(draft: Draft) -> Iterator[Fault]:
    """Groups of a server that is in no VPC, that nothing describes, or of another VPC."""
    for item in draft.servers:
        server, path = item.value, (*item.path, "security_groups")
        if server.security_groups and server.subnet is None:
            text = "a server on the internet has no network interface in a VPC; give it a subnet, or leave this out"
            yield Fault(path, text)
            continue
        yield from groups_at(draft, path, server.security_groups, server.subnet, server.name)


def _endpoints(draft: Draft) -> Iterator[Fault]:
    """An endpoint for a server that has a private address of its own."""
    inside = {item.value.name: item.value.subnet for item in draft.servers if item.value.subnet is not None}
    for item in draft.exits:
        if item.value.stands_for in inside:
            text = (
                f"{item.value.stands_for} is in the subnet {inside[item.value.stands_for]}, and needs no endpoint; "
                "leave it out"
            )
            yield Fault((*item.path, "server"), text)


def _services(draft: Draft) -> Iterator[Fault]:
    """A service of AWS in a subnet, where none is."""
    for item in draft.servers:
        if item.value.subnet is not None and item.value.service is not None:
            text = f"{item.value.service} is no server in a VPC; leave its subnet out, or this"
            yield Fault((*item.path, "service"), text)


def _limits(draft: Draft) -> Iterator[Fault]:
    """`when_full` without a limit, and a limit on a real program, which only that program could keep."""
    for item in draft.servers:
        server = item.value
        if server.when_full is not None and server.max_connections is None:
            text = "a server without a limit is never full; write max_connections beside it, or leave it out"
            yield Fault((*item.path, "when_full"), text)
        if server.max_connections is not None and not server.embedded:
            text = (
                "a real program has a limit of its own; set it there (MySQL's max_connections, nginx's "
                "worker_connections), or leave out `embedded: false`"
            )
            yield Fault((*item.path, "max_connections"), text)


def _addresses_twice(draft: Draft) -> Iterator[Fault]:
    """An address that one server lists twice."""
    for item in draft.servers:
        for index, address in enumerate(item.value.several or ()):
            if address in item.value.addresses[:index]:
                yield Fault((*item.path, "addresses", index), f"{address} is listed twice; once is enough")


def _destinations(draft: Draft) -> Iterator[Fault]:
    """Two servers that one address and port would lead to; in a subnet, one address."""
    seen: dict[tuple[IPv4Address, int | None], str] = {}
    for item in draft.servers:
        server = item.value
        for path, address in addresses_at(item):
            first = seen.setdefault((address, None if server.subnet else server.port), server.name)
            if first != server.name and server.subnet:
                yield Fault(path, f"{address} is {first} already; every server in a subnet has its own")
            elif first != server.name:
                text = f"{address}, port {server.port}, is {first} already; give it another port, or another address"
                yield Fault(path, text)


def _addresses_of_services(draft: Draft) -> Iterator[Fault]:
    """An address that is of a service and is not: a route leads to it, whatever the port."""
    seen: dict[IPv4Address, Server] = {}
    for item in draft.servers:
        for path, address in addresses_at(item):
            first = seen.setdefault(address, item.value)
            if first.service != item.value.service:
                text = f"{address} is {_of(first)} in {first.name}, and {_of(item.value)} here; say the same of both"
                yield Fault(path, text)


def _of(server: Server) -> str:
    return f"of {server.service}" if server.service else "of no service"


def _hostnames(draft: Draft) -> Iterator[Fault]:
    """Two servers with one name that has not the same addresses."""
    seen: dict[str, Server] = {}
    for item in draft.servers:
        server = item.value
        first = seen.setdefault(server.hostname, server)
        in_subnets = first is not server and (first.subnet or server.subnet)
        if in_subnets or set(first.addresses) != set(server.addresses):
            text = (
                f"{shown(server.hostname)} is the hostname of {first.name}, which has other addresses; a name has one "
                "set of addresses, whatever the port"
            )
            yield Fault((*item.path, "hostname"), text)


def _endpoints_of_one_name(draft: Draft) -> Iterator[Fault]:
    """An endpoint for one of several servers with one name, which would mean the endpoint for all of them."""
    for exit_ in draft.exits:
        meant = [item.value for item in draft.servers if item.value.name == exit_.value.stands_for]
        sharers = [
            item.value.name
            for item in draft.servers
            for server in meant
            if item.value != server and item.value.hostname == server.hostname
        ]
        if sharers:
            text = (
                f"{shown(meant[0].hostname)} is the hostname of {', '.join(sharers)} as well, and would lead here; "
                "give each a hostname of its own"
            )
            yield Fault((*exit_.path, "server"), text)


def addresses_at(item: Item[Server]) -> Iterator[tuple[Path, IPv4Address]]:
    """A server's addresses, and where each is written."""
    if item.value.address is not None:
        yield (*item.path, "address"), item.value.address
    for index, address in enumerate(item.value.several or ()):
        yield (*item.path, "addresses", index), address


CHECKS = (
    _subnets,
    _security_groups,
    _endpoints,
    _services,
    _limits,
    _addresses_twice,
    _destinations,
    _addresses_of_services,
    _hostnames,
    _endpoints_of_one_name,
)
