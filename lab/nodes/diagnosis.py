"""What node kinds say of their limits: which is full, what CloudWatch shows of it, what helps.

A kind that limits connections states it as `LIMIT` in its module `lab.nodes.KIND.diagnosis`, which is found by its
name. `lab.diagnosis` puts the sentences together, so that a new kind changes nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from lab.nodes.registry import KINDS
from lab.slots.fill import Fill
from lab.slots.limiter import WhenFull, destination_text

__all__ = [
    "OUTSIDE",
    "REUSE",
    "SEE_FAULTS",
    "LimitState",
    "LimitWords",
    "connections",
    "counted",
    "limit_words",
    "limiting_kinds",
    "listed",
    "words_for",
    "words_of",
]

REUSE = "Reuse connections across invocations: create the client outside the handler and keep it alive."
SEE_FAULTS = "See which faults are set on the way: lab impair."
OUTSIDE = (
    "Where the function needs nothing of the VPC, no server in it either, run it outside: neither limit is on its way."
)


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit: how many connections it allows, how many it holds, what it refused."""

    node: str
    kind: str
    """The node's kind."""
    limit: int
    """Connections that it allows; where Elastic IPs share the load, that each of them allows."""
    eips: int
    """Elastic IPs that share the load; 0 where the node has none."""
    destination: str | None
    """The server whose connections it counts; None counts all together."""
    held: int
    refused_packets: int
    refused_connections: int
    when_full: WhenFull = "ignore"
    """What a connection meets that it refuses."""
    fill: Fill | None = None
    """What held its slots: of a burst at its peak, of a lab that is up now; None where that was not read."""
    before: Fill | None = None
    """What held slots when the burst began."""
    unserved: int = 0
    """Connections that found no slot while it was filled so; of a lab that is up, those refused lately."""
    unserved_anyway: int | None = None
    """Those that would have found none either if half-open connections held no slots; None where the fill was not
    read. Each of the others would have had the slot of one that was half-open."""
    refused_before: int = 0
    """Connections refused since `lab up`, before the burst began."""
    full_eips: tuple[str, ...] = ()
    """The Elastic IPs that refused, where others did not: without spill-over one is full while others have room."""

    client: str | None = None
    """The node whose connections it is for; None counts those of all together."""
    protocol: str = "any"
    """Of a lab that is up, whose connections it counts; of a burst all limits are of its own protocol."""
    of: str | None = None
    """The ENI beside which this one has appeared, and whose overflow it gets."""
    address: str | None = None
    """Which of the server's addresses it is for, where each has a limit of its own."""

    @property
    def family(self) -> tuple[str | None, ...]:
        """What those have in common of which one gets another's overflow."""
        return self.of or self.node, self.client, self.towards, self.protocol

    @property
    def towards(self) -> str | None:
        """What the connections that it counts have for a destination, in words."""
        return destination_text(self.destination, self.address)

    @property
    def size(self) -> int:
        """Connections, all Elastic IPs together."""
        return self.limit * max(1, self.eips)


@dataclass(frozen=True, slots=True)
class LimitWords:
    """A node kind's limit in words."""

    title: str
    """Begins the headline where it is reached."""
    named: Callable[[Sequence[LimitState]], str]
    """Which ones are full, and how large they are: ends the headline."""
    mechanism: Callable[[Sequence[LimitState]], str]
    """What these full ones do to a connection."""
    remedies: Callable[[Sequence[LimitState], bool], Iterable[str]]
    """What helps where these are full; the flag tells whether questions to the name server take connections, too."""
    in_use: str
    """The nodes whose connections are counted, where none is full: `Hyperplane ENIs`."""
    more_room: str = "another one"
    """What people add where one is full, with its article: `another subnet`."""
    one_node: str | None = None
    """With its article, what has the limit: `an ENI`; None where it is not told apart."""
    metrics: tuple[str, ...] = ()
    """CloudWatch's metrics that tell of it, first the one that counts what it refused; without any, `unmetered` says
    so."""
    idle_metric: str | None = None
    """The one that counts connections that fell idle."""
    unmetered: str = ""
    """With `{others}`: what the metrics of other nodes show meanwhile."""
    of_clients: LimitWords | None = None
    """The words where each client has a limit of its own."""
    blind_spot: str = ""
    """What no metric shows where some are full, with `{healthy}`, `{nodes}` and `{connections}`."""
    no_blind_spot: str = ""
    """What no metric shows where none is full."""

    @property
    def metric(self) -> str | None:
        """The one that counts what it refused."""
        return next(iter(self.metrics), None)


@cache
def limit_words(kind: str) -> LimitWords | None:
    """The words of a kind's limit; None where it has no limit."""
    module = f"lab.nodes.{kind}.diagnosis"
    if not find_spec(module):
        return None
    words: LimitWords = import_module(module).LIMIT
    return words


def words_of(kind: str) -> LimitWords:
    """The words of a limit that was met, so that its kind has some."""
    words = limit_words(kind)
    if words is None:
        raise KeyError(f"lab.nodes.{kind}.diagnosis has no LIMIT")
    return words


def words_for(full: Sequence[LimitState]) -> LimitWords:
    """The words of limits of one kind that were met; those of clients' own limits where all are such."""
    words = words_of(full[0].kind)
    return words.of_clients if words.of_clients and all(state.client for state in full) else words


def limiting_kinds() -> dict[str, LimitWords]:
    """The kinds that limit connections, in the order of the registry."""
    return {kind.name: words for kind in KINDS if (words := limit_words(kind.name))}


# ── Sentences that several kinds share ──────────────────────────────────────────────────────────────────────


def counted(number: int, noun: str) -> str:
    """`1 packet`, `1,000 packets`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def connections(number: int) -> str:
    """`1 connection`, `65,000 connections`."""
    return counted(number, "connection")


def listed(full: Sequence[LimitState]) -> str:
    """`eni-private, 10 connections`; of several alike `eni-a, eni-b, 10 connections each`."""
    alike: dict[tuple[int, str | None], list[str]] = {}
    for state in full:
        alike.setdefault((state.limit, state.towards), []).append(state.node)
    return "; ".join(
        f"{', '.join(nodes)}, {connections(limit)}{' each' if len(nodes) > 1 else ''}{_to(destination)}"
        for (limit, destination), nodes in alike.items()
    )


def _to(destination: str | None) -> str:
    return f" to {destination}" if destination else ""
