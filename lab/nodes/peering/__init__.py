"""The VPC peering connection."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="peering",
    words="VPC peering",
    plural="VPC peerings",
    shape=Shape("middle", dot="cds"),
)
