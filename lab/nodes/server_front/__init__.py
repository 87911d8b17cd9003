"""The front of a server with a connection limit."""

from lab.nodes.kind import NodeKind

KIND = NodeKind(name="server_front", words="server front", plural="server fronts", follows_others=True)
