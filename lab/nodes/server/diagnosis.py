"""A server that has reached its limit of connections, in words.

CloudWatch has a metric of what a database keeps, DatabaseConnections (Amazon RDS user guide, "Amazon CloudWatch metrics
for Amazon RDS"; CurrConnections of ElastiCache), and none of what it turned away.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.nodes.diagnosis import REUSE, LimitState, LimitWords, connections

__all__ = ["LIMIT"]

_MECHANISMS = {
    "close": "The network let all of them through; a server that is full accepts a connection and closes it at once.",
    "reset": "The network let all of them through; a server that is full answers a SYN with a RST, as if no program "
    "listened.",
    "ignore": "The network let all of them through; a server that is full leaves SYNs unanswered, which looks the same "
    "as a full Hyperplane ENI, and each holds a half-open slot on its way there until it is forgotten.",
}


def _named(full: Sequence[LimitState]) -> str:
    return "; ".join(f"{state.destination} keeps {connections(state.limit)}" for state in full)


def _remedies(full: Sequence[LimitState], _: bool) -> tuple[str, ...]:  # noqa: FBT001 - all kinds have the same
    limit = full[0].limit
    return (
        f"Put a pool between them, such as RDS Proxy or PgBouncer: many clients share its {connections(limit)}.",
        f"Keep environments below the limit: reserved concurrency of {limit:,} at most, with one connection each.",
        f"{REUSE} Let the server's idle time-out end what frozen environments keep.",
        "Subnets, Elastic IPs and endpoints do not help: the network has room.",
    )


LIMIT = LimitWords(
    title="Server full",
    named=_named,
    mechanism=lambda full: " ".join(dict.fromkeys(_MECHANISMS[state.when_full] for state in full)),
    remedies=_remedies,
    in_use="Servers",
    more_room="a larger server",
    one_node="a server",
    unmetered="No metric of the network shows it: {others}. A database shows what it keeps as DatabaseConnections, and "
    "nowhere what it turned away.",
    blind_spot="The server's limit is in no metric of the network: {healthy}, and {nodes} turned {connections} away. "
    "A database shows what it keeps as DatabaseConnections.",
)
