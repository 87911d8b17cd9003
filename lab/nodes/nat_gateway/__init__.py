"""The NAT gateway."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="nat_gateway",
    words="NAT gateway",
    plural="NAT gateways",
    shape=Shape("exits", dot="hexagon"),
    has_cloudwatch=True,
)
