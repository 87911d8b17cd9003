"""Invocations beyond the reserved concurrency of their function, in words. Pure.

What is throttled gets no environment, so no packet of it is anywhere, and no limit of the network has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.functions import FunctionResult
from lab.burst.result import BurstResult
from lab.nodes.diagnosis import counted

__all__ = ["besides", "explanation", "headline", "invocations", "remedies"]


def invocations(clients: BurstResult | None) -> int:
    """How many were throttled; 0 of a lab that is up, whose kernel knows nothing of them."""
    return clients.invocations.throttled if clients else 0


def headline(clients: BurstResult) -> str:
    """Whose reserved concurrency it was."""
    throttling = _throttling(clients)
    offered = sum(function.offered for function in throttling)
    return (
        f"Throttled by reserved concurrency of {' and '.join(map(_named, throttling))}: "
        f"{invocations(clients):,} of {counted(offered, 'invocation')}"
    )


def explanation(clients: BurstResult) -> Iterator[str]:
    """What became of them, and of the others."""
    many = invocations(clients)
    yield (
        f"{counted(many, 'invocation')} {_were(many)} answered 429 TooManyRequestsException: without an environment "
        "there is no question to the name server and no connection, so no node has a packet of theirs."
    )
    yield "CloudWatch shows it: the function's Throttles, not a metric of the network. No limit of the network was met."


def besides(clients: BurstResult) -> Iterator[str]:
    """The sentence for a verdict of another cause: neither explains the other."""
    if many := invocations(clients):
        yield (
            f"Besides, {counted(many, 'invocation')} {_were(many)} throttled by reserved concurrency of "
            f"{' and '.join(map(_named, _throttling(clients)))}: no packet of theirs came to a limit."
        )


def remedies(clients: BurstResult) -> Iterator[str]:
    """What gets them in, or lets them wait."""
    for function in _throttling(clients):
        yield (
            f"Raise the reserved concurrency of {function.function} to {function.offered:,}, or take it away: then its "
            "invocations come to the limits of the network, which lab predict counts."
        )
    yield (
        "Let them wait: asynchronous invocations are tried again for up to 6 hours, a queue (SQS) holds its messages; "
        "who invokes synchronously tries again after a pause that grows."
    )


def _throttling(clients: BurstResult) -> list[FunctionResult]:
    return [function for function in clients.functions if function.throttled]


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _named(function: FunctionResult) -> str:
    return f"{function.function} ({function.reserved_concurrency:,})"
