"""The Transit Gateway."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="transit_gateway",
    words="Transit Gateway",
    plural="Transit Gateways",
    shape=Shape("middle", dot="octagon"),
)
