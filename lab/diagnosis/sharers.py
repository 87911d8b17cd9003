"""Which function's connections hold the slots of an ENI that functions share, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.nodes.diagnosis import LimitState

__all__ = ["of_limits"]


def of_limits(limits: Iterable[LimitState]) -> Iterator[str]:
    """A sentence for each of these limits that several functions hold slots of, by the addresses in its table."""
    for limit in limits:
        holders = limit.fill.holders if limit.fill else ()
        if len(holders) > 1:
            hold = " and ".join(f"{holder.function} {holder.slots:,}" for holder in holders)
            yield f"{limit.node} is shared, and one function's connections are another's limit: {hold} of its slots."
        elif holders and holders[0].slots == limit.held:
            yield f"{limit.node} is shared, and all its slots are those of {holders[0].function}."
