"""The NAT gateway."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="nat_gateway",
    words="NAT gateway",
    plural="NAT gateways",
    shape=Shape("exits", dot="hexagon"),
    own_addresses=1,
    has_cloudwatch=True,
)
