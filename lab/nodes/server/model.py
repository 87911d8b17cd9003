"""A remote server as a user writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lab.schema.base import NAME, Model, Whole, YesNo
from lab.schema.faults import Fault
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import SERVER_CONNECTIONS
from lab.schema.names import node_name_of_server
from lab.schema.scale import SCALES
from lab.schema.words import Address, GatewayService, Hostname, Name
from lab.slots.limiter import WhenFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft

__all__ = ["CHECKS", "Server"]


class Server(Model):
    """A remote server on the internet, known to the resolver by its hostname."""

    name: Name = Field(description=f"a server's name is {NAME}")
    hostname: Hostname = Field(
        description="a hostname has two or more labels of letters, digits and -, such as cache.example.com"
    )
    address: Address = Field(description="a server has one public IPv4 address, such as 203.0.113.10")
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


CHECKS = (_limits,)
