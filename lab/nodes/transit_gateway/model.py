"""The Transit Gateway as a user writes it: the VPCs that it joins, and which of them leads to the internet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lab.schema.base import NAME, Model
from lab.schema.faults import Fault
from lab.schema.references import twice, unknown
from lab.schema.words import Name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology.draft import Draft

__all__ = ["CHECKS", "Attachment", "TransitGateway"]


class Attachment(Model):
    """A VPC attachment: the network interface of a Transit Gateway in one of a VPC's subnets."""

    vpc: Name = Field(description="an attachment has the name of one of vpcs")
    subnet: Name = Field(description="an attachment lives in one of its VPC's subnets, whose routes its packets take")


class TransitGateway(Model):
    """A router between VPCs, without a limit of connections and without translation.

    Routes to the range of each attached VPC are there by themselves, in its route table and in those of the VPCs
    (route propagation); the default route is the static one of a central egress VPC (Amazon VPC Transit Gateways guide,
    "Example: Centralized outbound routing to the internet").
    """

    name: Name = Field(description=f"a Transit Gateway's name is {NAME}")
    attachments: tuple[Attachment, ...] = Field(
        min_length=1,
        description="a Transit Gateway has a list of one or more attachments, each with vpc and subnet",
    )
    default_route: Name | None = Field(
        None,
        description="a Transit Gateway's default route is the name of the attached VPC that leads to the internet "
        "(leave it out for none)",
    )

    @property
    def node(self) -> str:
        """`tgw` stays `tgw`, `hub` is `tgw-hub`."""
        return self.name if self.name.startswith("tgw") else f"tgw-{self.name}"

    @property
    def towards_the_internet(self) -> Attachment | None:
        """The attachment to which its default route leads."""
        return next((attachment for attachment in self.attachments if attachment.vpc == self.default_route), None)


def _names(draft: Draft) -> Iterator[Fault]:
    """Two Transit Gateways with one name, or one with the name of a NAT gateway: a default route means either."""
    nat_gateways = [(item.path, item.value.name) for item in draft.nat_gateways if draft.transit_gateways]
    transit_gateways = [(item.path, item.value.name) for item in draft.transit_gateways]
    yield from twice("name", "default route's target", [*nat_gateways, *transit_gateways])


def _attachments(draft: Draft) -> Iterator[Fault]:
    """An attachment to what is not there, in a subnet of another VPC, or one too many."""
    for item in draft.transit_gateways:
        seen: set[str] = set()
        for index, attachment in enumerate(item.value.attachments):
            path = (*item.path, "attachments", index)
            yield from unknown("VPC", attachment.vpc, draft.vpc_names, (*path, "vpc"))
            yield from unknown("subnet", attachment.subnet, draft.subnet_names, (*path, "subnet"))
            home = draft.vpc_of_subnet(attachment.subnet)
            if home is not None and home != attachment.vpc and attachment.vpc in (draft.vpc_names or ()):
                text = f"{shown(attachment.subnet)} is in the VPC {home}; an attachment lives in its own VPC"
                yield Fault((*path, "subnet"), text)
            if attachment.vpc in seen:
                text = f"{shown(attachment.vpc)} is attached already; a VPC has one attachment to a Transit Gateway"
                yield Fault((*path, "vpc"), text)
            seen.add(attachment.vpc)


def _routes(draft: Draft) -> Iterator[Fault]:
    """A default route to a VPC that is not attached, or one that leads back; a subnet's to what is not attached."""
    for item in draft.transit_gateways:
        gateway, attached = item.value, [attachment.vpc for attachment in item.value.attachments]
        if gateway.default_route is not None and gateway.default_route not in attached:
            text = f"{shown(gateway.default_route)} is not attached; the attachments are to {', '.join(attached)}"
            yield Fault((*item.path, "default_route"), text)
        egress = gateway.towards_the_internet
        subnet = None if egress is None else draft.subnets_by_name.get(egress.subnet)
        if egress is not None and subnet is not None and subnet.default_route is None:
            text = (
                f"the subnet {egress.subnet}, by which packets enter {egress.vpc}, has no default_route: they would go "
                "nowhere; give it a NAT gateway as default_route, or none"
            )
            yield Fault((*item.path, "default_route"), text)
        if egress is not None and _leads_back(draft, gateway):
            text = (
                f"the subnet {egress.subnet} leads back to {gateway.name}, which leads to {egress.subnet}: packets "
                "would go round; give it a NAT gateway as default_route, or none"
            )
            yield Fault((*item.path, "default_route"), text)
        for vpc in draft.vpcs:
            for routed in vpc.subnets:
                if routed.value.default_route == gateway.name and vpc.name not in attached:
                    text = (
                        f"{gateway.name} has no attachment to the VPC {vpc.name}; the attachments are to "
                        f"{', '.join(attached)}"
                    )
                    yield Fault((*routed.path, "default_route"), text)
                elif (
                    routed.value.default_route == gateway.name
                    and egress is not None
                    and vpc.name == egress.vpc
                    and routed.value.name != egress.subnet  # that one is told above
                ):
                    text = (
                        f"{gateway.name} leads back into the VPC {vpc.name} by its own default_route; give the subnet "
                        "one of the NAT gateways there"
                    )
                    yield Fault((*routed.path, "default_route"), text)


def _leads_back(draft: Draft, gateway: TransitGateway) -> bool:
    """Whether its packets come to it again, by one subnet or by other Transit Gateways."""
    gateways = {item.value.name: item.value for item in draft.transit_gateways}
    passed: set[str] = set()
    following: TransitGateway | None = gateway
    while following is not None and following.name not in passed:
        passed.add(following.name)
        onward = following.towards_the_internet
        subnet = None if onward is None else draft.subnets_by_name.get(onward.subnet)
        following = None if subnet is None else gateways.get(subnet.default_route or "")
    return following is not None and following.name == gateway.name


CHECKS = (_names, _attachments, _routes)
