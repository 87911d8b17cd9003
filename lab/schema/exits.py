"""What takes connections out of the VPC: the common part of NAT gateways, and of whatever else there is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from lab.schema.base import Model
from lab.schema.limit import ConnectionLimit

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.schema.faults import Path

__all__ = ["Exit", "WayOut"]


class WayOut(Model):
    """What leads out of a VPC, as a user writes it."""

    WORDS: ClassVar[str]
    """What people call it."""

    name: str

    @property
    @abstractmethod
    def exits(self) -> tuple[Exit, ...]:
        """The nodes that it is."""


class Exit(WayOut):
    """A node through which connections leave the VPC; how many to one server it carries is its own."""

    KIND: ClassVar[str]
    """Its node kind."""
    SENDS_THROUGH_SUBNET: ClassVar[bool] = False
    """Whether its packets to and from servers cross its subnet's border, too, so that the network ACL judges them."""

    OF_OTHER_VPCS: ClassVar[bool] = True
    """Whether it takes connections that a Transit Gateway has brought from other VPCs."""

    @property
    def exits(self) -> tuple[Exit, ...]:
        """One node."""
        return (self,)

    @property
    def in_subnet(self) -> str | None:
        """The subnet in which it has its network interface; None for what is in route tables only."""
        return None

    @property
    def ingress_groups(self) -> tuple[str, ...]:
        """The security groups that say what may connect to its network interface; without any, all may."""
        return ()

    @property
    def subnet_key(self) -> Path:
        """Where that is written, from its own place on."""
        return ("subnet",)

    @property
    @abstractmethod
    def node(self) -> str:
        """The node's name."""

    @property
    @abstractmethod
    def capacity(self) -> int | None:
        """Connections at the same time to one server; None is no limit."""

    def limit_to(self, addresses: int) -> ConnectionLimit | None:  # noqa: ARG002 - for what leads to all of them
        """The capacity as the limit of a path that may lead to so many addresses of its server."""
        return None if self.capacity is None else ConnectionLimit(self.capacity, self.certain_capacity)

    def limit_of_each(self, clients: int) -> ConnectionLimit | None:  # noqa: ARG002 - for those that have one
        """The limit of each of so many clients, private addresses behind it, where each has its own; None elsewhere."""
        return None

    def certain_capacity(self, in_use: int) -> int | None:  # noqa: ARG002 - for those that choose
        """How many more connections it takes whatever it chooses, if its choice is left to chance; None: it is not.

        `in_use` connections to the server hold a slot already.
        """
        return None

    def destination(self, server: IPv4Network, subnet: IPv4Network) -> IPv4Network:  # noqa: ARG002 - for others
        """Where packets go that leave here: to the server's own address, unless it has one in the node's subnet."""
        return server

    @property
    def stands_for(self) -> str | None:
        """The server whose name the resolver answers with this node's address; None for what lies on the way only."""
        return None

    @abstractmethod
    def takes(self, subnet: Subnet, server: Server) -> bool:
        """Whether connections to a server leave here, by the routes of a subnet."""
