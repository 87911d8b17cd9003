"""What CloudWatch would show of a NAT gateway, in its metrics' names, and what it cannot show. Pure.

ErrorPortAllocation is "the number of times the NAT gateway could not allocate a source port" (Amazon VPC user guide,
"NAT gateway metrics and dimensions"); the lab counts one for each SYN or datagram that found no slot or no port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.diagnosis.why.limits import LimitAccount
from lab.metrics import grown
from lab.metrics.numbers import LEVELS
from lab.observe.samples import Sample
from lab.slots.counters import NatNode

__all__ = ["GatewayMetrics", "blind_spot", "metrics"]


_SUMS = ("ConnectionAttemptCount", "ConnectionEstablishedCount", "IdleTimeoutCount")
_ERRORS, _ACTIVE = "ErrorPortAllocation", "ActiveConnectionCount"


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """One NAT gateway."""

    node: str
    values: Mapping[str, int]
    """By CloudWatch's names: sums since `up`, or of a run; of what is active, the most in the samples."""


def metrics(nodes: Sequence[NatNode], before: Sample | None, samples: Sequence[Sample]) -> Iterator[GatewayMetrics]:
    """Of each NAT gateway; `before` is what does not count."""
    for node in nodes:
        found = [each for each in samples if node.node in each.nodes]
        if node.kind == "nat_gateway" and found:
            yield GatewayMetrics(node.node, _values(node.node, before, found))


def _values(node: str, before: Sample | None, found: Sequence[Sample]) -> dict[str, int]:
    active = max(LEVELS[_ACTIVE](each.nodes[node], ()) for each in found)
    errors, *others = (grown(each, node, before, found[-1]) for each in (_ERRORS, *_SUMS))
    return {_ERRORS: errors, _ACTIVE: active, **dict(zip(_SUMS, others, strict=True))}


def blind_spot(refusing: Sequence[LimitAccount], gateways: Sequence[GatewayMetrics]) -> str:
    """What no metric shows."""
    enis = {each.limit.first.node: each for each in refusing if each.limit.first.kind == "hyperplane_eni"}
    if not enis:
        return "A Hyperplane ENI's limit is in no metric; here none was reached."
    refused = sum(each.connections for each in enis.values())
    if not gateways:
        healthy = "there is no NAT gateway to look at"
    elif any(each.values[_ERRORS] for each in gateways):
        healthy = "ErrorPortAllocation tells of the NAT gateway alone"
    else:
        healthy = "ErrorPortAllocation is 0, so CloudWatch looks healthy"
    return f"The ENI's limit is in no metric: {healthy}, and {', '.join(enis)} refused {refused:,} connections."
