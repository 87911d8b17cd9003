"""A Hyperplane ENI whose connection limit is reached, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.nodes.diagnosis import OUTSIDE, REUSE, LimitState, LimitWords, connections, listed

__all__ = ["LIMIT"]


def _remedies(full: Sequence[LimitState], questions: bool) -> Iterator[str]:  # noqa: FBT001 - all kinds have the same
    if questions:
        yield (
            "Ask the Amazon resolver instead of a name server in the VPC: no question to it crosses the ENI, where "
            "each takes a connection."
        )
    yield f"Add a private subnet to the function: one more ENI, with room for {connections(full[0].limit)}."
    yield "A different security-group set gives a function an ENI of its own, too."
    yield from (REUSE, OUTSIDE)


LIMIT = LimitWords(
    title="Hyperplane ENI connection limit reached",
    named=listed,
    mechanism=lambda _: (
        "Connections cross a Hyperplane ENI, and one that is full drops every further SYN without an answer."
    ),
    remedies=_remedies,
    in_use="Hyperplane ENIs",
    more_room="another subnet",
    one_node="an ENI",
    unmetered="No CloudWatch metric shows this limit; {others}.",
    blind_spot="The ENI's limit is in no metric: {healthy}, and {nodes} refused {connections}.",
    no_blind_spot="A Hyperplane ENI's limit is in no metric; here none was reached.",
)
