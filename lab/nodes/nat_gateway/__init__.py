"""The NAT gateway."""

from lab.nodes.kind import Figure, NodeKind, Shape

KIND = NodeKind(
    name="nat_gateway",
    words="NAT gateway",
    plural="NAT gateways",
    shape=Shape("exits", dot="hexagon", mermaid=("{{", "}}")),
    figure=Figure(
        "eip",
        "Connections of each Elastic IP",
        "To each destination, and the limit. CloudWatch has only the sum of them all.",
    ),
    own_addresses=1,
    one_slot_each=True,
    has_cloudwatch=True,
)
