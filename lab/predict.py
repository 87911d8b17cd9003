"""What a burst will show, by arithmetic alone: no root, no kernel, no lab.

Connection `i` of a burst leaves through ENI `i % E`, its path through the NAT gateway of that ENI's subnet. A limiter
refuses its first connection when more are offered to it than it has free slots; the first of all refusals gives the
drop threshold and the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lab.errors import UsageError
from lab.topology import Eni, NatGateway, Topology, enis_of
from lab.topology.names import node_name_of_nat_gateway

__all__ = ["InUse", "Load", "Prediction", "choose", "predict"]

InUse = Callable[[str], int]
"""Node name → connections that hold one of its slots already."""


def _nothing(_: str) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered to one limiter, and what becomes of it."""

    node: str
    kind: str
    limit: int
    offered: int
    refused: int

    @property
    def admitted(self) -> int:
        """Connections of this burst that it lets through; on a fresh lab, what it holds at the end."""
        return self.offered - self.refused


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a burst will show; None where AWS's choice of Elastic IP (or the lab's hash) leaves it to chance."""

    offered: int
    established: int | None
    drop_threshold: int | None
    bottleneck: str | None
    limiters: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class _Limiter:
    """A limiter and how many connections it has been offered after the first `m` of a burst."""

    node: str
    kind: str
    limit: int
    free: int
    offered: Callable[[int], int]
    certain: int | None = None
    """With more connections than this, chance decides which Elastic IP is full; None: never."""

    def first_refusal(self, connections: int) -> int | None:
        """The number of the first connection that it refuses, counted from 0."""
        if self.offered(connections) <= self.free:
            return None
        low, high = 0, connections  # it refuses one of the first `high`, and none of the first `low`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.offered(middle) <= self.free else (low, middle)
        return high - 1

    def left_to_chance(self, connections: int) -> bool:
        """Whether no arithmetic can say what it refuses."""
        return self.certain is not None and self.offered(connections) > self.certain

    def load(self, connections: int) -> Load:
        offered = self.offered(connections)
        return Load(self.node, self.kind, self.limit, offered, max(0, offered - self.free))


def predict(
    topology: Topology,
    connections: int,
    *,
    function: str | None = None,
    server: str | None = None,
    in_use: InUse = _nothing,
    first_connection: int = 0,
) -> Prediction:
    """What a burst of so many connections will show on a topology, all held at the same time."""
    if connections < 1:
        raise UsageError(f"-n {connections}: a burst has at least one connection")
    caller = choose((each.name for each in topology.functions), function, "function")
    choose((each.name for each in topology.servers), server, "server")
    eni_limiters = tuple(_enis(topology, caller, in_use, first_connection))
    nat_limiters = tuple(_nat_gateways(topology, eni_limiters, in_use))
    limiters = (*(limiter for _, limiter in eni_limiters), *nat_limiters)
    refusals = [(at, each) for each in limiters if (at := each.first_refusal(connections)) is not None]
    threshold, bottleneck = min(((at, each.kind) for at, each in refusals), default=(None, None))
    loads = tuple(each.load(connections) for each in limiters)
    if any(each.left_to_chance(connections) for each in limiters):
        return Prediction(connections, None, None, None, loads)
    return Prediction(
        offered=connections,
        established=connections - sum(load.refused for load in loads),
        drop_threshold=threshold,
        bottleneck=bottleneck,
        limiters=loads,
    )


def choose(names: Iterable[str], name: str | None, what: str) -> str:
    """That name, or the first one; UsageError with the known names if there is none like it."""
    known = tuple(names)
    if name is None:
        return known[0]
    if name not in known:
        raise UsageError(f"no {what} {name!r}; known: {', '.join(known)}")
    return name


def _enis(topology: Topology, function: str, in_use: InUse, first: int) -> Iterator[tuple[Eni, _Limiter]]:
    enis = enis_of(topology, function)
    limit = topology.hyperplane_eni.connection_limit
    for index, eni in enumerate(enis):
        offered = _every(len(enis), (index - first) % len(enis))
        yield eni, _Limiter(eni.name, "hyperplane_eni", limit, max(0, limit - in_use(eni.name)), offered)


def _every(count: int, place: int) -> Callable[[int], int]:
    """How many of the first `m` connections are the `place`-th of each round of `count`."""
    return lambda m: (m - place + count - 1) // count if m > place else 0


def _nat_gateways(topology: Topology, enis: Sequence[tuple[Eni, _Limiter]], in_use: InUse) -> Iterator[_Limiter]:
    for gateway in topology.vpc.nat_gateways:
        behind = [limiter for eni, limiter in enis if eni.subnet.default_route == gateway.name]
        if behind:
            yield _nat_gateway(gateway, behind, in_use)


def _nat_gateway(gateway: NatGateway, behind: Sequence[_Limiter], in_use: InUse) -> _Limiter:
    node = node_name_of_nat_gateway(gateway.name)
    limit = gateway.elastic_ips * gateway.connections_per_destination

    def offered(m: int) -> int:
        return sum(min(each.free, each.offered(m)) for each in behind)

    # A hash spreads connections unevenly, so one Elastic IP fills first and, without spill-over, refuses early.
    uneven = gateway.eip_selection == "hash" and not gateway.spill_over and gateway.elastic_ips > 1
    # What is in use may all be in that one.
    certain = max(0, gateway.connections_per_destination - in_use(node)) if uneven else None
    return _Limiter(node, "nat_gateway", limit, max(0, limit - in_use(node)), offered, certain)
