"""A NAT gateway without a free port, in words.

ErrorPortAllocation is "the number of times the NAT gateway could not allocate a source port" (Amazon VPC user guide,
"NAT gateway metrics and dimensions"); the lab counts one for each SYN or datagram that found no slot or no port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.nodes.diagnosis import OUTSIDE, REUSE, LimitState, LimitWords, connections
from lab.schema.limits import NAT_EIPS

__all__ = ["LIMIT"]


def _named(full: Sequence[LimitState]) -> str:
    return "; ".join(
        f"{state.node} with {state.eips} Elastic IP{'' if state.eips == 1 else 's'}, {connections(state.limit)}"
        f"{'' if state.eips == 1 else ' each'} to {state.destination}"
        for state in full
    )


def _remedies(full: Sequence[LimitState], _: bool) -> Iterator[str]:  # noqa: FBT001 - all kinds have the same
    yield from dict.fromkeys(map(_more_addresses, full))
    yield from (REUSE, OUTSIDE)


def _more_addresses(state: LimitState) -> str:
    if state.eips >= NAT_EIPS:
        return (
            f"{state.node} has all {NAT_EIPS} Elastic IPs that AWS allows: route some of the subnets through a "
            "second NAT gateway, or spread the load over more destination addresses or ports."
        )
    return (
        f"Associate a secondary Elastic IP with {state.node}: room there for {state.limit:,} more "
        f"connection{'' if state.limit == 1 else 's'} to each destination (up to {NAT_EIPS} addresses; AWS's default "
        "quota is 2)."
    )


LIMIT = LimitWords(
    title="NAT gateway port exhaustion",
    named=_named,
    mechanism=lambda _: (
        "Once no Elastic IP has a port left for the destination, the NAT gateway drops SYNs without an answer."
    ),
    remedies=_remedies,
    in_use="NAT gateway addresses",
    one_node="an Elastic IP",
    idle_metric="IdleTimeoutCount",
    metrics=(
        "ErrorPortAllocation",
        "ActiveConnectionCount",
        "ConnectionAttemptCount",
        "ConnectionEstablishedCount",
        "IdleTimeoutCount",
    ),
)
