"""The Hyperplane ENI."""

from lab.nodes.kind import Figure, NodeKind, Shape

KIND = NodeKind(
    name="hyperplane_eni",
    words="Hyperplane ENI",
    plural="Hyperplane ENIs",
    shape=Shape("enis", mermaid=("[/", "/]")),
    figure=Figure(
        "eni",
        "The graph that AWS does not show you",
        "Connections on each Hyperplane ENI, and its limit. No CloudWatch metric has them.",
    ),
    sees_environments=True,
)
