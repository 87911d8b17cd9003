"""A function's fleet of execution environments."""

from lab.nodes.kind import NodeKind, Shape

KIND = NodeKind(name="fleet", words="function", plural="functions", shape=Shape("functions"))
