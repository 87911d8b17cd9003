"""A Lambda function as a user writes it."""

from typing import Annotated, ClassVar

from pydantic import Field

from lab.schema.base import NAME, Whole
from lab.schema.limits import FUNCTION_SECURITY_GROUPS, FUNCTION_SUBNETS, RESERVED_CONCURRENCY
from lab.schema.names import node_name_of_function
from lab.schema.scale import SCALES
from lab.schema.source import Source
from lab.schema.words import Name

__all__ = ["Function"]


class Function(Source):
    """A Lambda function: a fleet of execution environments behind one ENI per subnet, or outside the VPC."""

    WORDS: ClassVar[str] = "function"

    name: Name = Field(description=f"a function's name is {NAME}")
    subnets: tuple[Name, ...] = Field(
        (),
        max_length=FUNCTION_SUBNETS,
        description="a function has a list of 1 to 16 names from vpc.subnets, private ones; "
        "one without the list is outside the VPC",
    )
    security_groups: tuple[Name, ...] = Field(
        ("default",),
        min_length=1,
        max_length=FUNCTION_SECURITY_GROUPS,
        description=f"a function has a list of 1 to 5 security groups; a name is {NAME}",
    )
    reserved_concurrency: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=0,
        le=RESERVED_CONCURRENCY,
        description=f"a function's reserved concurrency is a whole number of invocations at a time, 0 to "
        f"{RESERVED_CONCURRENCY:,}; those beyond are throttled",
    )

    @property
    def node(self) -> str:
        """`checkout` is `fn-checkout`."""
        return node_name_of_function(self.name)

    @property
    def at_once(self) -> int | None:
        """As many as invocations: each has one."""
        return self.reserved_concurrency

    @property
    def leaves_by(self) -> tuple[str, ...]:
        """Those that it lists."""
        return self.subnets
