"""The interface endpoint (AWS PrivateLink)."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="interface_endpoint",
    words="interface endpoint",
    plural="interface endpoints",
    shape=Shape("exits", dot="hexagon"),
)
