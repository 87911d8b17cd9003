"""The path of a connection: what it crosses from an execution environment to a server."""
