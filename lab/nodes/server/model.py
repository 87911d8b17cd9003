"""A remote server as a user writes it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, ValidationInfo, field_validator

from lab.schema.base import NAME, Model, Whole, YesNo
from lab.schema.faults import Fault, Path
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import SERVER_ADDRESSES, SERVER_CONNECTIONS
from lab.schema.names import node_name_of_server
from lab.schema.scale import SCALES
from lab.schema.words import Address, GatewayService, Hostname, Name, shown
from lab.slots.limiter import WhenFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft, Item

__all__ = ["CHECKS", "Server", "addresses_at"]


class Server(Model):
    """A remote server on the internet, known to the resolver by its hostname."""

    name: Name = Field(description=f"a server's name is {NAME}")
    hostname: Hostname = Field(
        description="a hostname has two or more labels of letters, digits and -, such as cache.example.com"
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
        description="a server has a public IPv4 address, such as 203.0.113.10, or several under addresses",
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
    def _either(cls, address: IPv4Address | None, others: ValidationInfo) -> IPv4Address | None:
        """One address or a list of them; what is wrong with a list is a fault of its own."""
        if "several" in others.data:
            listed = others.data["several"]
            if address is None and listed is None:
                raise ValueError("missing")
            if address is not None and listed is not None:
                raise ValueError("there is a list of addresses beside it, which may have this one, too")
        return address

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All that it has, in the order of the file."""
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
    """Two servers that one address and port would lead to."""
    seen: dict[tuple[IPv4Address, int], str] = {}
    for item in draft.servers:
        server = item.value
        for path, address in addresses_at(item):
            first = seen.setdefault((address, server.port), server.name)
            if first != server.name:
                text = f"{address}, port {server.port}, is {first} already; give it another port, or another address"
                yield Fault(path, text)


def _services(draft: Draft) -> Iterator[Fault]:
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
        if set(first.addresses) != set(server.addresses):
            text = (
                f"{shown(server.hostname)} is the hostname of {first.name}, which has other addresses; a name has one "
                "set of addresses, whatever the port"
            )
            yield Fault((*item.path, "hostname"), text)


def _endpoints(draft: Draft) -> Iterator[Fault]:
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


CHECKS = (_limits, _addresses_twice, _destinations, _services, _hostnames, _endpoints)
