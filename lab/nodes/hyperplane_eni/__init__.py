"""The Hyperplane ENI."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(
    name="hyperplane_eni",
    words="Hyperplane ENI",
    plural="Hyperplane ENIs",
    shape=Shape("enis", mermaid=("[/", "/]")),
    sees_environments=True,
)
