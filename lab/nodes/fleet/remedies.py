"""What the function itself can do: leave the VPC, or need fewer connections."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.proposals import Case, Proposal, Size
from lab.schema.names import DEFAULT_SECURITY_GROUPS
from lab.topology import Topology
from lab.topology.edit import with_function

__all__ = ["more_room", "proposals"]


def more_room(_: Topology, __: Case) -> tuple[Proposal, ...]:
    """None: a fleet has no limit of connections."""
    return ()


def proposals(case: Case) -> Iterator[Proposal]:
    """A function outside the VPC, and fewer connections by reuse; both whichever limit binds."""
    function = case.question.source
    if case.subnets:
        yield Proposal(
            f"{function} outside the VPC",
            f"function {function}: no subnets",
            with_function(case.topology, function, subnets=(), security_groups=DEFAULT_SECURITY_GROUPS),
            Size.FUNCTION,
            condition="if it needs nothing there",
        )
    yield Proposal(
        "reuse of connections across invocations",
        "the function's code: create the client outside the handler, and keep connections alive",
        None,
        Size.CODE,
        note="the threshold stays, and fewer connections are needed for the same invocations",
        effect="saves",
    )
