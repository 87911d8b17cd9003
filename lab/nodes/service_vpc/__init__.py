"""The service VPC: the network of Lambda's execution environments."""

from lab.nodes.kind import NodeKind

KIND = NodeKind(name="service_vpc", words="service VPC", plural="service VPCs", follows_others=True)
