"""An interface endpoint whose service's load balancer is full, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lab.nodes.diagnosis import REUSE, LimitState, LimitWords, listed

__all__ = ["LIMIT"]


def _remedies(_: Sequence[LimitState], __: bool) -> tuple[str, ...]:  # noqa: FBT001 - all kinds have the same
    return (
        "Ask the service's owner for more targets: each adds as many connections.",
        "Give the endpoint a subnet in another availability zone: a load balancer more is behind it then.",
        REUSE,
    )


LIMIT = LimitWords(
    title="Load balancer's limit reached",
    named=listed,
    mechanism=lambda _: (
        "The endpoint's load balancer has no port left towards its target, and drops SYNs without an answer."
    ),
    remedies=_remedies,
    in_use="Interface endpoints",
    unmetered="The service's owner sees it in PortAllocationErrorCount; the VPC's owner has no metric of it.",
)
