"""The interface endpoint (AWS PrivateLink)."""

from lab.nodes.kind import Figure, NodeKind, Shape

KIND = NodeKind(
    name="interface_endpoint",
    words="interface endpoint",
    plural="interface endpoints",
    shape=Shape("exits", dot="hexagon", mermaid=("{{", "}}")),
    figure=Figure(
        "endpoint",
        "Through the interface endpoint",
        "Connections of its load balancer to each target, and their limit.",
    ),
    refuses_translated=True,
)
