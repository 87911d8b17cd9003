"""Where a burst's connections come from: the common part of functions, and of clients that are none."""

from abc import abstractmethod
from typing import ClassVar

from lab.schema.base import Model

__all__ = ["Source"]


class Source(Model):
    """What opens connections: a node with a name that no other source has, and the subnets by which they leave it."""

    WORDS: ClassVar[str]
    """What people call it."""

    name: str

    @property
    @abstractmethod
    def node(self) -> str:
        """The node's name."""

    @property
    def at_once(self) -> int | None:
        """How many of its connections there may be at a time, whatever the network has room for; None: no limit."""
        return None

    @property
    @abstractmethod
    def leaves_by(self) -> tuple[str, ...]:
        """The subnets into which its connections come, in turn; none outside the VPCs."""
