"""The engines: ways to make a burst of connections."""
