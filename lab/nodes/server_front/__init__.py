"""The front of a server that keeps so many connections only."""

from lab.nodes.kind import NodeKind

KIND = NodeKind(name="server_front", words="server front", plural="server fronts", follows_others=True)
