"""The customer VPC's router."""

from lab.nodes.kind import NodeKind

KIND = NodeKind(name="vpc", words="VPC", plural="VPCs", follows_others=True)
