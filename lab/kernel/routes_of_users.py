"""Routes by which the connections of a user's processes have their own source address, and leave by their own ENI.

A rule by user number (FRA_UID_RANGE, Linux 4.10) leads to a routing table whose routes say the source address; it holds
for all that these processes open, DNS included, and nothing in their code binds an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
import subprocess
from typing import NamedTuple

from lab.kernel.netns import NamespaceThread
from lab.kernel.preflight import find

__all__ = ["UserRoutes", "add_routes", "remove_routes"]

_PRIORITY = 40
"""Before the fleet's own rules (lab.nodes.fleet.plan)."""
_FIRST_TABLE = 1_000_000


class UserRoutes(NamedTuple):
    """Where the connections of a user's processes leave a fleet."""

    uid: int
    address: IPv4Address
    """Their source, local to the fleet's kernel."""
    interface: str
    gateway: IPv4Address
    segment: IPv4Network
    """What is on the link: the name server of the service VPC."""

    @property
    def table(self) -> int:
        """The routing table of this user."""
        return _FIRST_TABLE + self.uid


def add_routes(inside: NamespaceThread, users: Iterable[UserRoutes]) -> None:
    """Add the routes and rules of all of them; OSError with the kernel's words."""
    inside.run(_ip, "".join(_added(user) for user in users))


def remove_routes(inside: NamespaceThread, users: Iterable[UserRoutes]) -> None:
    """Take them away; those that are gone are no error."""
    inside.run(_ip, "".join(_removed(user) for user in users), force=True)


def _added(user: UserRoutes) -> str:
    to = f"dev {user.interface} src {user.address} table {user.table}"
    return (
        f"route replace {user.segment} {to}\n"
        f"route replace default via {user.gateway} onlink {to}\n"
        f"rule add priority {_PRIORITY} uidrange {user.uid}-{user.uid} lookup {user.table}\n"
    )


def _removed(user: UserRoutes) -> str:
    return (
        f"rule del priority {_PRIORITY} uidrange {user.uid}-{user.uid} lookup {user.table}\n"
        f"route flush table {user.table}\n"
    )


def _ip(batch: str, *, force: bool = False) -> None:
    words = [find("ip") or "ip", "-4", *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(words, input=batch, capture_output=True, encoding="utf-8", check=False)
    if done.returncode and not force:
        raise OSError(0, done.stderr.strip() or f"ip ended with status {done.returncode}")
