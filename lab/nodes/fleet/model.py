"""A Lambda function as a user writes it."""

from typing import Annotated

from pydantic import Field

from lab.schema.base import NAME, Model, Whole
from lab.schema.limits import FUNCTION_SECURITY_GROUPS, FUNCTION_SUBNETS, RESERVED_CONCURRENCY
from lab.schema.scale import SCALES
from lab.schema.words import Name

__all__ = ["Function"]


class Function(Model):
    """A Lambda function: a fleet of execution environments behind one ENI per subnet, or outside the VPC."""

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
