"""Changes of a topology that node kinds propose where connections are lost.

A kind proposes them in its module `lab.nodes.KIND.remedies`, which is found by its name. Whether a change helps is not
known there: `lab.diagnosis.remedies` asks prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol, cast

from lab.nodes.client.model import Client
from lab.nodes.registry import KINDS
from lab.paths.path import Path
from lab.paths.routes import paths
from lab.schema.exits import Exit
from lab.topology import Eni, Server, Topology
from traffic.spec import Protocol as Transport

__all__ = ["Case", "Effect", "Proposal", "Question", "Size", "Threshold", "more_room", "proposals_of_kinds"]

Effect = Literal["raises", "unlimited", "throttles", "saves", "unknown", "nothing", "impossible"]
"""The effects of remedies, in the order in which they are told."""


class Size(IntEnum):
    """How much is changed: smaller changes are told before larger ones."""

    RULE = 0
    ADDRESS = 1
    SUBNET = 2
    SECURITY_GROUPS = 3
    TWO_CHANGES = 4
    NODE = 5
    FUNCTION = 6
    CODE = 7


@dataclass(frozen=True, slots=True)
class Question:
    """What opens connections, the server that it connects to, and the protocol."""

    source: str
    """Name of a function or client."""
    server: str
    protocol: Transport = "tcp"


@dataclass(frozen=True, slots=True)
class Threshold:
    """How many connections are held when the first of a burst without end is lost."""

    held: int | None
    """None: none is ever lost, or it is not known."""
    kind: str | None = None
    """The kind of the limiter that refuses it; None where connections end for another reason, or never."""
    nodes: tuple[str, ...] = ()
    """The limiters that refuse it or one of those just after it, since connections take turns."""
    unknown: str | None = None
    """Why arithmetic does not know, where it does not."""
    dead_end: str | None = None
    """Where it is lost, if that is no limit."""
    sharers_hold: int = 0
    """Connections that functions beside this one hold then, all together."""
    throttled_beyond: int | None = None
    """Where its reserved concurrency lets in no more than so many, so that none is lost."""

    @property
    def unlimited(self) -> bool:
        """Whether no limit is on the path."""
        return self.held is None and self.unknown is None


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and what binds it."""

    topology: Topology
    question: Question
    before: Threshold

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the question's connections."""
        return paths(self.topology, self.question.source, self.question.server, self.question.protocol)

    @property
    def client(self) -> Client | None:
        """The client that is no function and opens the connections, if one does."""
        return self.paths[0].client

    @property
    def exits(self) -> tuple[Exit, ...]:
        """What takes its connections out of the VPCs."""
        return tuple({path.exit.node: path.exit for path in self.paths if path.exit}.values())

    def enis(self, through: Exit | None = None) -> list[Eni]:
        """The ENIs on its paths; with `through`, only on those through that exit."""
        return list(dict.fromkeys(path.eni for path in self.paths if path.eni and through in (None, path.exit)))

    @property
    def open_enis(self) -> list[Eni]:
        """The ENIs behind which no connection is dropped whatever the limits; all if there are none like that."""
        passing = dict.fromkeys(path.eni for path in self.paths if path.eni and not path.dead_end)
        return list(passing) or self.enis()

    @property
    def server(self) -> Server:
        """The server that is asked for."""
        return next(server for server in self.topology.servers if server.name == self.question.server)

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets by which the connections leave their source."""
        return self.topology.source(self.question.source).leaves_by


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that may help; without a topology it cannot be made."""

    what: str
    change: str
    topology: Topology | None
    size: Size
    note: str = ""
    condition: str = ""
    sharers: tuple[str, ...] = ()
    """Functions that open as many connections each to the same server, before and after."""
    effect: Effect | None = None
    """Where no threshold can tell."""
    lets_in: int | None = None
    """Where it lets in no more than so many, so that no limit is met: those beyond are throttled."""


class Proposer(Protocol):
    """The module `lab.nodes.KIND.remedies` of a node kind."""

    def more_room(self, topology: Topology, case: Case) -> Iterable[Proposal]:
        """One more node or address of the kind, if its limit binds; `topology` may be another kind's proposal."""

    def proposals(self, case: Case) -> Iterable[Proposal]:
        """The other changes that the kind proposes."""


def _proposers() -> Iterator[Proposer]:
    for kind in KINDS:
        module = f"lab.nodes.{kind.name}.remedies"
        if find_spec(module):
            yield cast("Proposer", import_module(module))


def more_room(topology: Topology, case: Case) -> list[Proposal]:
    """One more node or address of the kind whose limit binds, as each such kind proposes it."""
    proposed = [proposal for proposer in _proposers() for proposal in proposer.more_room(topology, case)]
    return sorted(proposed, key=lambda proposal: proposal.size)


def proposals_of_kinds(case: Case) -> Iterator[Proposal]:
    """The other changes that the kinds propose."""
    for proposer in _proposers():
        yield from proposer.proposals(case)
