"""What the function itself can do: enter a VPC, leave it, or need fewer connections."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.proposals import Case, Proposal, Size
from lab.paths.routes import paths
from lab.schema.names import DEFAULT_SECURITY_GROUPS
from lab.topology import Topology
from lab.topology.edit import with_function

__all__ = ["more_room", "proposals"]


def more_room(_: Topology, __: Case) -> tuple[Proposal, ...]:
    """None: a fleet has no limit of connections."""
    return ()


def proposals(case: Case) -> Iterator[Proposal]:
    """A function in the server's VPC, or outside, and fewer connections by reuse; whichever limit binds."""
    if case.client is not None:
        return
    function = case.question.source
    if not case.subnets and case.server.subnet:
        yield from _inside(case, case.server.subnet)
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


def _inside(case: Case, at_server: str) -> Iterator[Proposal]:
    """Subnets and security groups of each function that reaches the server; without any, those of the server's VPC."""
    topology, question = case.topology, case.question
    reaching = (
        (other.subnets, other.security_groups)
        for other in topology.functions
        if not any(path.dead_end for path in paths(topology, other.name, question.server, question.protocol))
    )
    for subnets, groups in dict.fromkeys(reaching) or {((at_server,), DEFAULT_SECURITY_GROUPS)}:
        listed = f"subnets: [{', '.join(subnets)}], security_groups: [{', '.join(groups)}]"
        yield Proposal(
            f"{question.source} in the VPC {topology.vpc_of(subnets[0]).name}",
            f"function {question.source}: {listed}",
            with_function(topology, question.source, subnets=subnets, security_groups=groups),
            Size.FUNCTION,
        )
