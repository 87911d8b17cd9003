"""The name server."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="resolver",
    words="resolver",
    plural="resolvers",
    answers=True,
    shape=Shape("aside", dot="ellipse", mermaid=("([", "])")),
)
