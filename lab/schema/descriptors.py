"""How many files and sockets a process may have open (RLIMIT_NOFILE, `ulimit -n`)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DescriptorLimit"]


@dataclass(frozen=True, slots=True)
class DescriptorLimit:
    """How many files and sockets an execution environment, or a program of a client, may have open."""

    limit: int
    at_start: int
    """Of them, open before its first connection."""
    holder: str = "execution environment"
    """What has them, in words."""

    @property
    def connections(self) -> int:
        """How many connections it may have open; one more fails with EMFILE."""
        return self.limit - self.at_start
