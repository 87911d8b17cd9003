"""The remote server."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="server",
    words="server",
    plural="servers",
    answers=True,
    shape=Shape("servers", dot="cylinder", mermaid=("[(", ")]")),
)
