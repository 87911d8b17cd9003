"""The service VPC's own way to the internet."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(name="egress", words="egress", plural="egresses", shape=Shape("enis", mermaid=("{{", "}}")))
