"""The internet."""

from lab.nodes.kind import NodeKind

KIND = NodeKind(name="internet", words="internet", plural="internets", follows_others=True)
