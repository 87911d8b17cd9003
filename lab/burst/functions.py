"""What a burst showed of each of its functions, which take turns and may share limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.capacity.predict import FunctionPrediction
from traffic.result import EngineResult, FleetCount

__all__ = ["FunctionResult", "Invoker", "fleets_of", "functions_of"]


@dataclass(frozen=True, slots=True)
class Invoker:
    """A function that takes part in a burst."""

    name: str
    reserved_concurrency: int | None = None
    kinds: frozenset[str] = frozenset()
    """The kinds of the nodes on its paths."""


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """A function's part in a burst, by its clients' account, in the words that the whole burst has."""

    function: str
    reserved_concurrency: int | None
    offered: int
    throttled: int
    """Invocations beyond its reserved concurrency (429 TooManyRequestsException)."""
    served: int
    failed: int
    dns_failed: int
    attempted: int
    established: int
    timed_out: int
    refused: int
    reset: int
    closed_by_server: int
    emfile: int
    predicted_established: int | None
    """None where it is not known."""
    predicted_throttled: int | None


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
        yield FunctionResult(
            function=invoker.name,
            reserved_concurrency=invoker.reserved_concurrency,
            offered=count.offered,
            throttled=count.throttled,
            served=count.served - closed,
            failed=count.offered - count.throttled - count.served + closed,
            dns_failed=count.dns_failed,
            attempted=count.attempted,
            established=count.established - closed,
            timed_out=count.timed_out,
            refused=count.refused,
            reset=count.reset,
            closed_by_server=count.closed_by_server,
            emfile=count.emfile,
            predicted_established=foreseen.established if foreseen else None,
            predicted_throttled=foreseen.throttled if foreseen else None,
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
