"""A NAT gateway without a free port, in words.

ErrorPortAllocation is "the number of times the NAT gateway could not allocate a source port" (Amazon VPC user guide,
"NAT gateway metrics and dimensions"); the lab counts one for each SYN or datagram that found no slot or no port.

Where each client has ports of its own, one may have none left while all others, and the Elastic IP, have some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.nodes.diagnosis import OUTSIDE, REUSE, LimitState, LimitWords, connections, counted
from lab.schema.limits import NAT_EIPS

__all__ = ["LIMIT"]


def _named(full: Sequence[LimitState]) -> str:
    return "; ".join(
        _named_of_client(state)
        if state.client
        else f"{state.node} with {counted(state.eips, 'Elastic IP')}, {connections(state.limit)}"
        f"{'' if state.eips == 1 else ' each'} to {state.destination}{_of_which(state)}"
        for state in full
    )


def _named_of_client(state: LimitState) -> str:
    return f"{state.node} with {counted(state.limit, 'port')} to {state.destination} for {state.client}"


def _of_which(state: LimitState) -> str:
    if not state.full_eips:
        return ""
    return f", of which {' and '.join(state.full_eips)} {'is' if len(state.full_eips) == 1 else 'are'} full"


def _mechanism(full: Sequence[LimitState]) -> str:
    uneven = [state for state in full if state.full_eips]
    if not uneven:
        return "Once no Elastic IP has a port left for the destination, the NAT gateway drops SYNs without an answer."
    room = ", ".join(
        f"the {counted(state.eips - len(state.full_eips), 'other Elastic IP')} of {state.node} "
        f"{'has' if state.eips - len(state.full_eips) == 1 else 'have'} {counted(state.size - state.held, 'port')} left"
        for state in uneven
    )
    return (
        "Without spill-over a connection keeps to the Elastic IP that it was given, in turn or by a hash of its "
        "addresses and ports, and its SYNs are dropped without an answer if that one has no port left for the "
        f"destination: {room}."
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
        f"Associate a secondary Elastic IP with {state.node}: room there for "
        f"{counted(state.limit, 'more connection')} to each destination (up to {NAT_EIPS} addresses; AWS's default "
        "quota is 2)."
    )


# ── Where each client has ports of its own ──────────────────────────────────────────────────────────────────


def _used_up(full: Sequence[LimitState]) -> str:
    alike: dict[tuple[str, int, str | None], list[str]] = {}
    for state in full:
        alike.setdefault((state.node, state.limit, state.destination), []).append(state.client or "")
    return "; ".join(
        f"{node} gives each client {limit:,}, and {' and '.join(clients)} {'has' if len(clients) == 1 else 'have'} "
        f"used all of them to {destination}"
        for (node, limit, destination), clients in alike.items()
    )


def _more_ports(full: Sequence[LimitState], _: bool) -> Iterator[str]:  # noqa: FBT001 - all kinds have the same
    for node in dict.fromkeys(state.node for state in full):
        yield f"Give each client of {node} more ports: ports_per_client in the topology."
    yield f"Another private address is another client, with {full[0].limit:,} more: of a function, a private subnet."
    yield from (REUSE, OUTSIDE)


_METRICS = (
    "ErrorPortAllocation",
    "ActiveConnectionCount",
    "ConnectionAttemptCount",
    "ConnectionEstablishedCount",
    "IdleTimeoutCount",
)
_OF_CLIENTS = LimitWords(
    title="Ports per client used up",
    named=_used_up,
    mechanism=lambda _: (
        "A client is a private address, and has ports of its own to each destination: once they are used, the NAT "
        "gateway drops its SYNs without an answer, however many ports others, and the Elastic IP, have left."
    ),
    remedies=_more_ports,
    in_use="NAT gateway addresses",
    more_room="another subnet",
    metrics=_METRICS,
)
LIMIT = LimitWords(
    title="NAT gateway port exhaustion",
    named=_named,
    mechanism=_mechanism,
    remedies=_remedies,
    in_use="NAT gateway addresses",
    more_room="another Elastic IP",
    one_node="an Elastic IP",
    idle_metric="IdleTimeoutCount",
    metrics=_METRICS,
    of_clients=_OF_CLIENTS,
)
