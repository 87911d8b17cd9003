"""What invocations of a function's code showed: their outcomes, and what the kernel counted of their connections."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lab.burst.observing import Seen
from traffic.environments.result import InvokeResult as Outcomes

__all__ = ["Connections", "EnvironmentConnections", "InvokeResult"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class EnvironmentConnections:
    """What the kernel counted of one execution environment."""

    number: int
    eni: str
    address: str | None
    """The source address of its connections; None: that of all."""
    invocations: int
    opened: int
    """Connections, by their first SYN."""
    syns_again: int
    questions: int
    """Packets to name servers."""
    held: int
    """Connections that are established when the last invocation had its outcome."""


@dataclass(frozen=True, slots=True)
class Connections:
    """What the kernel counted of all of them."""

    opened: int
    syns_again: int
    questions: int
    held: int
    per_invocation: float
    """Connections opened for each invocation that an environment took."""
    environments: tuple[EnvironmentConnections, ...]
    apart: bool = True
    """Whether each environment has an address of its own; without, the numbers are those of the whole fleet."""


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """Invocations of one function: their outcomes as the Runtime API saw them, and the kernel's account."""

    lab: str
    function: str
    handler: str
    code: str
    asked_environments: int
    freeze: bool
    outcomes: Outcomes
    connections: Connections
    kernel: Seen

    def to_json(self) -> dict[str, Any]:
        """The document of `lab invoke --json`."""
        return {"schema": SCHEMA, "kind": "invoke", **asdict(self)}
