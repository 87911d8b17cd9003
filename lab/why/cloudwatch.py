"""What CloudWatch would show of a NAT gateway, in its metrics' names, and what it cannot show. Pure.

ErrorPortAllocation is "the number of times the NAT gateway could not allocate a source port" (Amazon VPC user guide,
"NAT gateway metrics and dimensions"); the lab counts one for each SYN or datagram that found no slot or no port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.counting import NatNode
from lab.observe.samples import NodeSample, Sample
from lab.why.limits import LimitAccount

__all__ = ["GatewayMetrics", "blind_spot", "metrics"]


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """One NAT gateway: sums since `up`, or of a run; of what is active, the most in the samples."""

    node: str
    active_connection_count: int
    connection_attempt_count: int
    connection_established_count: int
    error_port_allocation: int
    idle_timeout_count: int

    def by_name(self) -> dict[str, int]:
        """Under CloudWatch's names."""
        return {
            "ErrorPortAllocation": self.error_port_allocation,
            "ActiveConnectionCount": self.active_connection_count,
            "ConnectionAttemptCount": self.connection_attempt_count,
            "ConnectionEstablishedCount": self.connection_established_count,
            "IdleTimeoutCount": self.idle_timeout_count,
        }


def metrics(nodes: Sequence[NatNode], before: Sample | None, samples: Sequence[Sample]) -> Iterator[GatewayMetrics]:
    """Of each NAT gateway; `before` is what does not count."""
    for node in nodes:
        found = [each.nodes[node.node] for each in samples if node.node in each.nodes]
        if node.kind == "nat_gateway" and found:
            yield _metrics(node.node, before.nodes.get(node.node) if before else None, found)


def _metrics(name: str, before: NodeSample | None, found: Sequence[NodeSample]) -> GatewayMetrics:
    last = found[-1]
    return GatewayMetrics(
        node=name,
        active_connection_count=max(each.active for each in found),
        connection_attempt_count=last.attempted - (before.attempted if before else 0),
        connection_established_count=last.established - (before.established if before else 0),
        error_port_allocation=last.without_port - (before.without_port if before else 0),
        idle_timeout_count=last.idle_timeouts - (before.idle_timeouts if before else 0),
    )


def blind_spot(refusing: Sequence[LimitAccount], gateways: Sequence[GatewayMetrics]) -> str:
    """What no metric shows."""
    enis = {each.limit.first.node: each for each in refusing if each.limit.first.kind == "hyperplane_eni"}
    if not enis:
        return "A Hyperplane ENI's limit is in no metric; here none was reached."
    refused = sum(each.connections for each in enis.values())
    if not gateways:
        healthy = "there is no NAT gateway to look at"
    elif any(each.error_port_allocation for each in gateways):
        healthy = "ErrorPortAllocation tells of the NAT gateway alone"
    else:
        healthy = "ErrorPortAllocation is 0, so CloudWatch looks healthy"
    return f"The ENI's limit is in no metric: {healthy}, and {', '.join(enis)} refused {refused:,} connections."
