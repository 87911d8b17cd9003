"""A server that keeps more connections, or clients that need fewer."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.diagnosis import connections
from lab.nodes.proposals import Case, Proposal, Size
from lab.nodes.server import KIND
from lab.schema.limits import SERVER_CONNECTIONS
from lab.topology import Server, Topology
from lab.topology.edit import with_function

__all__ = ["more_room", "proposals"]


def more_room(topology: Topology, case: Case) -> Iterator[Proposal]:
    """Twice as many connections, where the server binds."""
    server = _asked(case)
    if case.before.kind != KIND.name or server.max_connections is None:
        return
    what = f"twice as many connections at {server.name}"
    limit = 2 * server.max_connections
    if limit > SERVER_CONNECTIONS:
        yield Proposal(what, "", None, Size.RULE, note=f"the lab's server keeps {SERVER_CONNECTIONS:,} at most")
        return
    larger = server.model_copy(update={"max_connections": limit})
    yield Proposal(
        what,
        f"server {server.name}: max_connections: {limit}",
        topology.model_copy(
            update={"servers": tuple(larger if known == server else known for known in topology.servers)}
        ),
        Size.RULE,
        condition="if it has the memory",
    )


def proposals(case: Case) -> Iterator[Proposal]:
    """A pool before it, and fewer environments; no topology has either."""
    server = _asked(case)
    if case.before.kind != KIND.name or server.max_connections is None:
        return
    limit = connections(server.max_connections)
    yield Proposal(
        f"a connection pool before {server.name} (RDS Proxy, PgBouncer)",
        "a pool that keeps connections to the server, and lends them to clients for one transaction",
        None,
        Size.NODE,
        note=f"many clients share the server's {limit}, and wait for one instead of being turned away",
        effect="saves",
    )
    function, most = case.question.source, case.before.held
    if most is None or function not in {known.name for known in case.topology.functions}:
        return
    yield Proposal(
        f"reserved concurrency of {most:,} for {function}",
        f"function {function}: reserved_concurrency: {most}",
        with_function(case.topology, function, reserved_concurrency=most),
        Size.FUNCTION,
        note="further invocations are throttled, which is a metric (Throttles)",
        condition="with one connection in each environment",
        lets_in=most,
    )


def _asked(case: Case) -> Server:
    return next(server for server in case.topology.servers if server.name == case.question.server)
