"""What remains of a topology when its faulty parts are set aside: enough to check the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from lab.nodes.fleet.model import Function
from lab.nodes.hyperplane_eni.model import HyperplaneEniSettings
from lab.nodes.nat_gateway.model import NatGateway
from lab.nodes.peering.model import Peering
from lab.nodes.resolver.model import Resolver
from lab.nodes.server.model import Server
from lab.nodes.transit_gateway.model import TransitGateway
from lab.nodes.vpc.model import WAYS_OUT, Subnet
from lab.schema.exits import Exit, WayOut
from lab.schema.firewall import NetworkAcl, SecurityGroup
from lab.schema.limits import SERVICE_VPC_CIDR
from lab.schema.names import DEFAULT_SECURITY_GROUPS, VPC
from lab.schema.words import Block, ServiceBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Network

    from lab.schema.faults import Path
    from lab.topology.document import Value

__all__ = ["Draft", "DraftVpc", "Item", "draft"]

M = TypeVar("M", bound=BaseModel)
W = TypeVar("W", bound=WayOut)


@dataclass(frozen=True, slots=True)
class Item(Generic[M]):
    """A valid item of a list, and where it stands."""

    path: Path
    value: M


@dataclass(frozen=True, slots=True)
class DraftVpc:
    """The valid parts of one VPC."""

    path: Path
    name: str
    cidr: IPv4Network | None
    subnets: tuple[Item[Subnet], ...]
    ways_out: tuple[Item[WayOut], ...]
    security_groups: tuple[Item[SecurityGroup], ...]
    network_acls: tuple[Item[NetworkAcl], ...]

    @property
    def exits(self) -> tuple[Item[Exit], ...]:
        """The nodes that its ways out are."""
        return tuple(Item(item.path, exit_) for item in self.ways_out for exit_ in item.value.exits)


@dataclass(frozen=True, slots=True)
class Draft:
    """The valid parts, and every name in the file: a reference to a faulty item is not a second fault.

    Where an item's name cannot be read the names are None, and no reference is checked.
    """

    service_vpc_cidr: IPv4Network | None
    hyperplane_eni: HyperplaneEniSettings
    vpc_keys: tuple[str, ...]
    """Under which keys the file has VPCs: vpc, vpcs."""
    vpcs: tuple[DraftVpc, ...]
    transit_gateways: tuple[Item[TransitGateway], ...]
    peerings: tuple[Item[Peering], ...]
    functions: tuple[Item[Function], ...]
    servers: tuple[Item[Server], ...]
    vpc_names: tuple[str, ...] | None
    subnet_names: tuple[str, ...] | None
    route_targets: tuple[str, ...] | None
    """Names of NAT gateways and Transit Gateways."""
    server_names: tuple[str, ...] | None
    group_names: tuple[str, ...] | None
    """Security groups that are described, and those that functions have without a description."""
    resolver: Resolver | None
    """None where it is faulty."""
    outside_vpc: tuple[Path, ...]
    """The functions that the file gives no subnets."""

    @property
    def subnets(self) -> tuple[Item[Subnet], ...]:
        """The valid subnets of all VPCs."""
        return tuple(item for vpc in self.vpcs for item in vpc.subnets)

    @property
    def exits(self) -> tuple[Item[Exit], ...]:
        """The nodes that the ways out of all VPCs are."""
        return tuple(item for vpc in self.vpcs for item in vpc.exits)

    @property
    def security_groups(self) -> tuple[Item[SecurityGroup], ...]:
        """The valid security groups of all VPCs."""
        return tuple(item for vpc in self.vpcs for item in vpc.security_groups)

    @property
    def network_acls(self) -> tuple[Item[NetworkAcl], ...]:
        """The valid network ACLs of all VPCs."""
        return tuple(item for vpc in self.vpcs for item in vpc.network_acls)

    def vpc_of_subnet(self, subnet: str) -> str | None:
        """The name of the VPC that a subnet is in; None where the file does not tell."""
        homes = (vpc.name for vpc in self.vpcs for item in vpc.subnets if item.value.name == subnet)
        return next(homes, None)

    def vpcs_of_group(self, group: str) -> frozenset[str]:
        """The VPCs that a security group is in: where it is described, or else those of the functions that have it."""
        described = {self.vpc_at(item.path) for item in self.security_groups if item.value.name == group}
        having = (item.value.subnets for item in self.functions if group in item.value.security_groups)
        homes = {self.vpc_of_subnet(subnet) for subnets in having for subnet in subnets}
        return frozenset(described or (home for home in homes if home is not None))

    def vpc_at(self, path: Path) -> str:
        """The name of the VPC in which a part stands."""
        return next(vpc.name for vpc in self.vpcs if path[: len(vpc.path)] == vpc.path)

    def ways_out_of(self, kind: type[W]) -> tuple[Item[W], ...]:
        """The ways out of one kind, of all VPCs."""
        items = (item for vpc in self.vpcs for item in vpc.ways_out)
        return tuple(Item(item.path, item.value) for item in items if isinstance(item.value, kind))

    @property
    def nat_gateways(self) -> tuple[Item[NatGateway], ...]:
        """The valid NAT gateways of all VPCs."""
        return self.ways_out_of(NatGateway)

    @property
    def subnets_by_name(self) -> dict[str, Subnet]:
        """The first subnet of each name."""
        return {item.value.name: item.value for item in reversed(self.subnets)}


def draft(value: Value) -> Draft:
    """The valid parts of a topology file's value.

    A subnet is never mended: a private one that lost a misspelt `default_route` would look public.
    """
    service_vpc_cidr = _at(value, "service_vpc", "cidr") or str(SERVICE_VPC_CIDR)
    paths = _vpc_paths(value)
    vpcs = tuple(_vpc(value, path) for path in paths)
    return Draft(
        service_vpc_cidr=_range(ServiceBlock, service_vpc_cidr),
        hyperplane_eni=_mended(HyperplaneEniSettings, _at(value, "hyperplane_eni")) or HyperplaneEniSettings(),
        vpc_keys=tuple(key for key in ("vpc", "vpcs") if not isinstance(value, dict) or value.get(key)),
        vpcs=vpcs,
        transit_gateways=_items(value, ("transit_gateways",), _mended, TransitGateway),
        peerings=_items(value, ("peerings",), _mended, Peering),
        functions=_items(value, ("functions",), _mended, Function),
        servers=_items(value, ("servers",), _mended, Server),
        vpc_names=_names([_at(value, *vpc.path) for vpc in vpcs]) if paths[0] != ("vpc",) else (vpcs[0].name,),
        subnet_names=_names(*(_at(value, *path, "subnets") for path in paths)),
        route_targets=_names(*(_at(value, *path, "nat_gateways") for path in paths), _at(value, "transit_gateways")),
        server_names=_names(_at(value, "servers")),
        group_names=_group_names(value, paths),
        resolver=_valid(Resolver, _at(value, "service_vpc", "resolver") or {}),
        outside_vpc=tuple(
            ("functions", index)
            for index, function in enumerate(_list(_at(value, "functions")))
            if isinstance(function, dict) and not function.get("subnets")
        ),
    )


def _group_names(value: Value, vpcs: Iterable[Path]) -> tuple[str, ...] | None:
    described = _names(*(_at(value, *path, "security_groups") for path in vpcs))
    if described is None:
        return None
    had = (group for owner in _list(_at(value, "functions")) for group in _list(_at(owner, "security_groups")))
    names = (name for name in (*described, *had, *DEFAULT_SECURITY_GROUPS) if isinstance(name, str))
    return tuple(dict.fromkeys(names))


def _vpc_paths(value: Value) -> tuple[Path, ...]:
    """Where VPCs stand in a file: at `vpc`, or in the list `vpcs`."""
    listed = _list(_at(value, "vpcs"))
    return tuple(("vpcs", index) for index in range(len(listed))) if listed else (("vpc",),)


def _vpc(value: Value, path: Path) -> DraftVpc:
    name = _at(value, *path, "name")
    return DraftVpc(
        path=path,
        name=name if isinstance(name, str) else VPC,
        cidr=_range(Block, _at(value, *path, "cidr")),
        subnets=_items(value, (*path, "subnets"), _valid, Subnet),
        ways_out=tuple(item for key, kind in WAYS_OUT.items() for item in _items(value, (*path, key), _mended, kind)),
        security_groups=_items(value, (*path, "security_groups"), _mended, SecurityGroup),
        network_acls=_items(value, (*path, "network_acls"), _mended, NetworkAcl),
    )


def _at(value: Value, *path: str | int) -> Value:
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _range(kind: type[IPv4Network], value: Value) -> IPv4Network | None:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


def _valid(model: type[M], value: Value) -> M | None:
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _mended(model: type[M], value: Value) -> M | None:
    """The item without its faulty keys, if it can do without them: they are faults of their own already."""
    if not isinstance(value, dict):
        return None
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        faulty = {one["loc"][0] for one in error.errors()}
    return _valid(model, {key: part for key, part in value.items() if key not in faulty})


def _items(value: Value, path: Path, read: Callable[[type[M], Value], M | None], model: type[M]) -> tuple[Item[M], ...]:
    items = ((index, read(model, raw)) for index, raw in enumerate(_list(_at(value, *path))))
    return tuple(Item((*path, index), item) for index, item in items if item is not None)


def _names(*sections: Value) -> tuple[str, ...] | None:
    """The names in several lists; None where one cannot be read."""
    names = [_at(item, "name") for section in sections for item in _list(section)]
    known = [name for name in names if isinstance(name, str)]
    if len(known) < len(names) or not all(isinstance(section, list | None) for section in sections):
        return None
    return tuple(dict.fromkeys(known))
