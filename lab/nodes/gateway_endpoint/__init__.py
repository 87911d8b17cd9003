"""The gateway endpoint."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="gateway_endpoint",
    words="gateway endpoint",
    plural="gateway endpoints",
    shape=Shape("exits", dot="cds", mermaid=("[[", "]]")),
)
