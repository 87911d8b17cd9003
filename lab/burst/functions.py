"""What a burst showed of each of its functions, which take turns and may share limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from lab.capacity.predict import FunctionPrediction
from lab.schema.drops import DropPoint
from traffic.result import EngineResult, FleetCount

__all__ = ["FunctionResult", "Invoker", "fleets_of", "functions_of"]


@dataclass(frozen=True, slots=True)
class Invoker:
    """A function that takes part in a burst."""

    name: str
    reserved_concurrency: int | None = None
    kinds: frozenset[str] = frozenset()
    """The kinds of the nodes on its paths."""
    nodes: tuple[str, ...] = ()
    """The nodes on its paths that may limit its connections."""
    dead_ends: tuple[DropPoint, ...] = ()
    """Where some of its connections, or all, end whatever the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionResult(FleetCount):
    """A function's part in a burst: its clients' account, what was predicted, and what was on its connections' way."""

    function: str
    reserved_concurrency: int | None
    failed: int
    predicted_established: int | None
    """None where it is not known."""
    predicted_throttled: int | None
    nodes: tuple[str, ...] = ()
    """The nodes that may limit its connections; empty in records of earlier versions."""
    dead_ends: tuple[DropPoint, ...] = ()
    """Where some of its connections, or all, end whatever the limits."""


def functions_of(
    invokers: Sequence[Invoker],
    clients: EngineResult,
    predictions: Sequence[FunctionPrediction],
    *,
    closed_at_once: bool,
) -> Iterator[FunctionResult]:
    """Each function's part; those that a full server closed at once are not among the established."""
    predicted = {prediction.function: prediction for prediction in predictions}
    for invoker, count in zip(invokers, fleets_of(clients), strict=False):
        foreseen = predicted.get(invoker.name)
        closed = count.closed_by_server if closed_at_once else 0
        kept = replace(count, served=count.served - closed, established=count.established - closed)
        yield FunctionResult(
            **asdict(kept),
            function=invoker.name,
            reserved_concurrency=invoker.reserved_concurrency,
            failed=kept.offered - kept.throttled - kept.served,
            predicted_established=foreseen.established if foreseen else None,
            predicted_throttled=foreseen.throttled if foreseen else None,
            nodes=invoker.nodes,
            dead_ends=invoker.dead_ends,
        )


def fleets_of(clients: EngineResult) -> tuple[FleetCount, ...]:
    """Each function's counts; of one alone, all of them."""
    if clients.fleets:
        return clients.fleets
    invocations, dns, tcp = clients.invocations, clients.dns, clients.tcp
    alone = FleetCount(
        offered=clients.offered,
        throttled=invocations.throttled,
        served=invocations.served,
        asked=dns.asked,
        answered=dns.answered,
        dns_failed=dns.failed,
        attempted=tcp.attempted,
        established=tcp.established,
        timed_out=tcp.timed_out,
        refused=tcp.refused,
        reset=tcp.reset,
        half_open=tcp.half_open,
        closed_by_server=tcp.closed_by_server,
        emfile=dns.emfile + tcp.emfile,
    )
    return (alone,)
