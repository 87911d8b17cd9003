"""The VPC peering connection as a user writes it: two VPCs, and which of their subnets have a route by it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from pydantic import Field

from lab.schema.base import NAME, Model
from lab.schema.faults import Fault
from lab.schema.references import twice, unknown
from lab.schema.words import Name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft

__all__ = ["CHECKS", "Peering"]

_VPCS = 2


class Peering(Model):
    """A direct way between two VPCs, without a limit of connections and without translation.

    It "does not support transitive peering": what it carries comes from one of its two VPCs and goes to the other. Each
    side needs a route in the route tables of its subnets, by hand.
    https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html
    """

    name: Name = Field(description=f"a peering's name is {NAME}")
    vpcs: tuple[Name, ...] = Field(
        json_schema_extra={"minItems": _VPCS, "maxItems": _VPCS},
        description="a peering has a list of two names of vpcs",
    )
    subnets: tuple[Name, ...] | None = Field(
        None,
        description="subnets are those of both VPCs whose route tables have the peering's route (leave it out for all)",
    )

    @property
    def node(self) -> str:
        """`to-data` is `pcx-to-data`, as AWS' names of peerings begin with pcx-."""
        return f"pcx-{self.name}"

    def leads(self, vpc: str, subnet: str, other: str) -> bool:
        """Whether the route table of a subnet of a VPC has a route to another VPC by it."""
        return {vpc, other} == {*self.vpcs} and (self.subnets is None or subnet in self.subnets)


def _vpcs(draft: Draft) -> Iterator[Fault]:
    """A peering of what is not there, of a VPC with itself, or the second one of two VPCs."""
    yield from twice("name", "peering", [(item.path, item.value.name) for item in draft.peerings])
    seen: dict[frozenset[str], str] = {}
    for item in draft.peerings:
        peering = item.value
        for index, name in enumerate(peering.vpcs):
            yield from unknown("VPC", name, draft.vpc_names, (*item.path, "vpcs", index))
        if (len(peering.vpcs), len({*peering.vpcs})) != (_VPCS, _VPCS):
            listed = ", ".join(peering.vpcs) or "none"
            yield Fault((*item.path, "vpcs"), f"a peering joins two VPCs; these are {listed}")
            continue
        first = seen.setdefault(frozenset(peering.vpcs), peering.name)
        if first != peering.name:
            text = f"{' and '.join(peering.vpcs)} are joined by {first} already; two VPCs have one peering"
            yield Fault((*item.path, "vpcs"), text)


def _ranges(draft: Draft) -> Iterator[Fault]:
    """VPCs with addresses in common, between which AWS makes no peering."""
    ranges = {vpc.name: vpc.cidr for vpc in draft.vpcs}
    for item in draft.peerings:
        for one, other in combinations(dict.fromkeys(item.value.vpcs), _VPCS):
            first, second = ranges.get(one), ranges.get(other)
            if first and second and first.overlaps(second):
                text = f"{one} ({first}) and {other} ({second}) overlap; AWS makes no peering of VPCs that do"
                yield Fault((*item.path, "vpcs"), text)


def _subnets(draft: Draft) -> Iterator[Fault]:
    """A route in the table of a subnet that is not there, or in neither of the two VPCs."""
    for item in draft.peerings:
        for index, name in enumerate(item.value.subnets or ()):
            path = (*item.path, "subnets", index)
            yield from unknown("subnet", name, draft.subnet_names, path)
            home = draft.vpc_of_subnet(name)
            if home is not None and home not in item.value.vpcs:
                text = f"{shown(name)} is in the VPC {home}; {item.value.name} joins {' and '.join(item.value.vpcs)}"
                yield Fault(path, text)


CHECKS = (_vpcs, _ranges, _subnets)
