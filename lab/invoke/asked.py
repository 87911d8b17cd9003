"""What `lab invoke` is asked to do: which code, how many invocations, when, in how many environments."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from lab.burst.load import Ramp, arrivals_of
from lab.errors import UsageError
from lab.schema.limits import SCALING_ENVIRONMENTS, SCALING_PERIOD_S
from lab.schema.options import Option, options_of, require_within_bounds
from traffic.spec import Arrivals, Growth

__all__ = ["OPTIONS", "Invocations"]

_MOST_INVOCATIONS = 10_000_000
_MOST_ENVIRONMENTS = 1_000
"""The account's concurrency unless AWS raises it (lambda/latest/dg/lambda-concurrency.html)."""
_LONGEST_TIMEOUT_S = 900
"""lambda/latest/dg/configuration-timeout.html"""
_MOST_AT_A_TIME = 1_600
"""lambda/latest/dg/lambda-managed-instances.html"""

_THE_CODE, WHEN_THEY_COME, THE_ENVIRONMENTS = "The code", "When invocations come", "Execution environments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocations:
    """What is asked for; None is the topology's first function, and otherwise the default that the option says."""

    invocations: int = field(
        kw_only=False,
        metadata=Option(
            "-n",
            "Invocations.",
            metavar="INVOCATIONS",
            fits=lambda invocations: 1 <= invocations <= _MOST_INVOCATIONS,
            allowed=f"1 to {_MOST_INVOCATIONS:,} invocations",
        ).metadata,
    )
    function: str | None = field(
        default=None,
        metadata=Option("FUNCTION", "Which function's; the topology's first unless given.").metadata,
    )
    code: str = field(
        metadata=Option(
            "--code", "The directory with the function's code, as its deployment package has it.", panel=_THE_CODE
        ).metadata
    )
    handler: str = Option(
        "--handler",
        "FILE.FUNCTION, as in Lambda's configuration; a program called bootstrap needs none.",
        metavar="FILE.FUNCTION",
        panel=_THE_CODE,
    ).by_default("")
    event: str | None = Option(
        "--event", "A file with the payload of each invocation, JSON; {} unless given.", metavar="FILE", panel=_THE_CODE
    ).by_default(None)
    variables: tuple[str, ...] = Option(
        "--env",
        "An environment variable of the function; several, each given.",
        metavar="NAME=VALUE",
        panel=_THE_CODE,
        repeats=True,
    ).by_default(())
    timeout_s: float = Option(
        "--timeout",
        "The function's time-out: an invocation that takes longer ends its environment.",
        metavar="SECONDS",
        panel=_THE_CODE,
        fits=lambda timeout_s: 0 < timeout_s <= _LONGEST_TIMEOUT_S,
        allowed=f"seconds, up to {_LONGEST_TIMEOUT_S}",
    ).by_default(3.0)
    memory_mb: int = Option(
        "--memory",
        "What AWS_LAMBDA_FUNCTION_MEMORY_SIZE says; nothing is limited to it.",
        metavar="MB",
        panel=_THE_CODE,
        fits=lambda memory_mb: 128 <= memory_mb <= 10_240,  # noqa: PLR2004 -- Lambda's bounds
        allowed="128 to 10,240 MB",
    ).by_default(128)
    rate_per_s: float | None = Option(
        "--rate",
        "So many a second; all at once unless given.",
        metavar="PER_SECOND",
        panel=WHEN_THEY_COME,
        fits=lambda rate_per_s: 0 < rate_per_s < inf,
        allowed="invocations per second, more than 0",
    ).by_default(None)
    ramp: Ramp | None = Option(
        "--ramp",
        "A rate that climbs or falls, such as 0:200:60, and then stays.",
        metavar="FROM:TO:SECONDS",
        panel=WHEN_THEY_COME,
        parse=Ramp.parse,
    ).by_default(None)
    environments: int = Option(
        "--environments",
        "At most so many environments; invocations beyond wait for a free one.",
        metavar="MAX",
        panel=THE_ENVIRONMENTS,
        fits=lambda environments: 1 <= environments <= _MOST_ENVIRONMENTS,
        allowed=f"1 to {_MOST_ENVIRONMENTS:,} execution environments",
    ).by_default(50)
    lambda_scaling: bool = Option(
        "--lambda-scaling",
        "As fast as Lambda adds environments: 1,000, then 1,000 more every 10 s.",
        panel=THE_ENVIRONMENTS,
    ).by_default(False)
    freeze: bool = Option(
        "--freeze/--no-freeze",
        "Stop an environment's processes between its invocations, as Lambda does.",
        panel=THE_ENVIRONMENTS,
    ).by_default(True)
    concurrency_per_environment: int = Option(
        "--concurrency-per-environment",
        "Invocations that an environment takes at a time; one unless given, as Lambda has it.",
        metavar="K",
        panel=THE_ENVIRONMENTS,
        fits=lambda invocations: 1 <= invocations <= _MOST_AT_A_TIME,
        allowed=f"1 to {_MOST_AT_A_TIME:,}",
    ).by_default(1)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        object.__setattr__(self, "variables", tuple(self.variables or ()))
        require_within_bounds(self)
        if self.rate_per_s is not None and self.ramp is not None:
            raise UsageError("--rate and --ramp: one of them; a ramp ends with a steady rate")
        for each in self.variables:
            if not each.partition("=")[0].isidentifier() or "=" not in each:
                raise UsageError(f"--env {each}: NAME=VALUE")

    @property
    def arrivals(self) -> Arrivals:
        """When they come."""
        return arrivals_of(self.rate_per_s, self.ramp)

    @property
    def growth(self) -> Growth | None:
        """How many environments there may be at first, and how many more each second."""
        return Growth(SCALING_ENVIRONMENTS, SCALING_ENVIRONMENTS / SCALING_PERIOD_S) if self.lambda_scaling else None


OPTIONS = options_of(Invocations)
"""Field of `Invocations` → its option, in the order of `lab invoke --help`."""
