"""Packets as interfaces carry them: AF_PACKET sockets and rings, the filters on them, and the frames they give."""
