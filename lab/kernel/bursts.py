"""The bursts that are under way in a lab: what each takes part with, so that one beside another keeps out of its way.

A file for each in `/run/lab/NAME/bursts`, which its process holds locked: a file that is not locked is one of a process
that was killed. A line of `begun` for each that has ever begun tells one that ends what began beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
import fcntl
import json
from pathlib import Path
from typing import Any

__all__ = ["Bursts", "HostReserved", "Reserved", "UnderWay"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Ports and environments of one source in a burst (`traffic.spec.PortBlocks`)."""

    gateways: tuple[str, ...]
    """The ENIs by which its connections leave."""
    first_address: str
    """Of environment 0."""
    first_turn: int
    turns: int
    with_a_slot: int
    """Turns that may all hold a slot of an ENI, the first ones."""
    per_environment: int


@dataclass(frozen=True, slots=True)
class HostReserved:
    """Ephemeral ports of one address of a host to one destination, in a burst."""

    address: str
    destination: str
    by_kernel: bool
    """Whether real sockets have them: then which ones is the kernel's choice, and no other socket gets one of them."""
    first_turn: int
    """The turn (`PortBlocks`) of the first one; after the last turn comes turn 0."""
    turns: int
    left: int
    """How many of all are left besides."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A burst, and what it takes part with."""

    nodes: tuple[str, ...]
    """The nodes that may limit its connections."""
    reserved: tuple[Reserved, ...] = ()
    ports: tuple[HostReserved, ...] = ()
    """Of a burst of a client that is no function, in place of what is reserved."""


@dataclass(slots=True)
class Bursts:
    """The bursts of one lab."""

    directory: Path
    number: int = field(default=0, init=False)
    """Of this burst, among all that have begun in the lab."""

    @contextmanager
    def beginning(self) -> Iterator[list[UnderWay]]:
        """Those that are under way, to which none is added while the block runs but by `take_part`."""
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield list(self._under_way())

    @contextmanager
    def take_part(self, burst: UnderWay) -> Iterator[None]:
        """Be under way while the block runs; to be entered within `beginning`."""
        self.number = len(self._begun()) + 1
        path = self.directory / f"{self.number}.json"
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            handle.write(json.dumps(asdict(burst)))
            handle.flush()
            with (self.directory / "begun").open("a") as begun:
                begun.write(json.dumps(burst.nodes) + "\n")
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def since(self) -> list[tuple[str, ...]]:
        """The nodes of each burst that has begun after this one."""
        return self._begun()[self.number :]

    def _begun(self) -> list[tuple[str, ...]]:
        path = self.directory / "begun"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def _under_way(self) -> Iterator[UnderWay]:
        for path in sorted(self.directory.glob("*.json")):
            with path.open() as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield _read(json.load(handle))
                else:
                    path.unlink(missing_ok=True)


def _read(document: dict[str, Any]) -> UnderWay:
    reserved = (Reserved(**each | {"gateways": tuple(each["gateways"])}) for each in document["reserved"])
    ports = (HostReserved(**each) for each in document["ports"])
    return UnderWay(tuple(document["nodes"]), tuple(reserved), tuple(ports))
