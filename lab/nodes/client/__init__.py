"""A client that is no Lambda function: an EC2 instance, an ECS task, pods behind one node."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(name="client", words="client", plural="clients", shape=Shape("enis"))
