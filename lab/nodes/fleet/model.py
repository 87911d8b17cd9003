"""A Lambda function as a user writes it."""

from typing import ClassVar

from pydantic import Field

from lab.schema.base import NAME
from lab.schema.limits import FUNCTION_SECURITY_GROUPS, FUNCTION_SUBNETS
from lab.schema.names import node_name_of_function
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

    @property
    def node(self) -> str:
        """`checkout` is `fn-checkout`."""
        return node_name_of_function(self.name)

    @property
    def leaves_by(self) -> tuple[str, ...]:
        """Those that it lists."""
        return self.subnets
