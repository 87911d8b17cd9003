"""The remote server."""

from lab.nodes.kind import Figure, NodeKind, Shape

KIND = NodeKind(
    name="server",
    words="server",
    plural="servers",
    shape=Shape("servers", dot="cylinder", mermaid=("[(", ")]")),
    figure=Figure("server", "At the server", "TCP connections that each server keeps, and their limit."),
    answers=True,
)
