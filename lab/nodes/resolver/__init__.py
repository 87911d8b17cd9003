"""The name server."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(name="resolver", words="resolver", plural="resolvers", shape=Shape(dot="ellipse", mermaid=("([", "])")))
