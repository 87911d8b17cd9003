"""The remote server."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="server", words="server", plural="servers", shape=Shape("servers", dot="cylinder", mermaid=("[(", ")]"))
)
