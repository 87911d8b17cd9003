"""A remote server as a user writes it."""

from pydantic import Field

from lab.schema.base import NAME, Model, Whole, YesNo
from lab.schema.words import Address, Hostname, Name

__all__ = ["Server"]


class Server(Model):
    """A remote server on the internet, known to the resolver by its hostname."""

    name: Name = Field(description=f"a server's name is {NAME}")
    hostname: Hostname = Field(
        description="a hostname has two or more labels of letters, digits and -, such as cache.example.com"
    )
    address: Address = Field(description="a server has one public IPv4 address, such as 203.0.113.10")
    port: Whole = Field(ge=1, le=65_535, description="a TCP port is 1 to 65535")
    embedded: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="embedded, the lab's own server on the port, is true, or false to leave the port to a real program",
    )
