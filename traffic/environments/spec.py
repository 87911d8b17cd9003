"""What `python -m traffic invoke`, `fleet` and `end` are asked to do: frozen values with a JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from traffic.spec import Arrivals, Growth, Spec

__all__ = ["EndSpec", "Environment", "FleetProgramSpec", "Handler", "InvokeSpec", "Isolation"]


@dataclass(frozen=True, slots=True)
class Environment:
    """An execution environment that may be made: who its processes are, and from where their connections come."""

    uid: int
    """Its user and group number. 0: the user whose sandbox this is, who has no other numbers."""
    eni: str
    """The ENI that the routes of this user lead to, by its name."""
    address: IPv4Address | None
    """The source address that the routes of this user give its connections; None: the fleet's own."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What all processes of an environment see, and may use."""

    namespace: str
    """Whose files below /etc/netns are those of /etc, as `ip netns exec` has it."""
    hidden: tuple[str, ...]
    """Directories of the host in whose place they see empty ones."""
    open_files: int = 1_024
    """RLIMIT_NOFILE, soft and hard."""
    cgroup: str | None = None
    """A directory of a cgroup v2 file system that is the lab's own, where each environment gets one of its own; None:
    processes are frozen and ended by signals."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function's code, and what runs it."""

    command: tuple[str, ...]
    """Program and arguments of the runtime client, such as `python -m awslambdaric app.handler`."""
    directory: str
    """Where the code is: the working directory, LAMBDA_TASK_ROOT."""
    name: str
    """`_HANDLER`."""
    runtime: str
    """`AWS_EXECUTION_ENV` is AWS_Lambda_ and this."""
    timeout_s: float = 3.0
    memory_mb: int = 128
    """`AWS_LAMBDA_FUNCTION_MEMORY_SIZE`; no limit is set by it."""
    init_timeout_s: float = 10.0
    """How long the runtime client may take to ask for its first invocation."""
    variables: dict[str, str] = field(default_factory=dict)
    """The function's own environment variables."""


@dataclass(frozen=True, slots=True)
class InvokeSpec(Spec):
    """Invocations of one function."""

    function: str
    handler: Handler
    isolation: Isolation
    environments: tuple[Environment, ...]
    """At most these are made, in this order."""
    invocations: int
    event: str = "{}"
    """The payload of each, JSON."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    growth: Growth | None = None
    """How many environments there may be by when; None: all of them at once."""
    reserved_concurrency: int | None = None
    """Invocations beyond it, when they come, are throttled; None: no limit."""
    freeze: bool = True
    """Whether an environment without an invocation is frozen."""
    concurrency: int = 1
    """Invocations that an environment takes at a time."""


@dataclass(frozen=True, slots=True)
class FleetProgramSpec(Spec):
    """A program that is run once in each of several environments, at the same time."""

    command: tuple[str, ...]
    directory: str
    isolation: Isolation
    environments: tuple[Environment, ...]
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndSpec(Spec):
    """Environments whose processes are ended by somebody else than who started them, who was killed."""

    isolation: Isolation
    environments: tuple[Environment, ...]
