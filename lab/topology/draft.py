"""What is left of a topology when its faulty items are set aside: enough to check the rest against each other."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from lab.topology.model import Function, NatGateway, Server, ServiceVpc, Subnet
from lab.topology.words import Block

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.topology.document import Value
    from lab.topology.faults import Path

__all__ = ["Draft", "Item", "draft"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Item(Generic[M]):
    """A valid item of a list, and where it stands."""

    path: Path
    value: M


@dataclass(frozen=True, slots=True)
class Draft:
    """The valid parts, and every name that the file gives, so that a reference to a faulty item is not a second fault."""

    service_vpc: ServiceVpc | None
    vpc_cidr: IPv4Network | None
    subnets: tuple[Item[Subnet], ...]
    nat_gateways: tuple[Item[NatGateway], ...]
    functions: tuple[Item[Function], ...]
    servers: tuple[Item[Server], ...]
    subnet_names: tuple[str, ...]
    nat_gateway_names: tuple[str, ...]

    @property
    def subnets_by_name(self) -> dict[str, Subnet]:
        """The first subnet of each name."""
        return {item.value.name: item.value for item in reversed(self.subnets)}


def draft(value: Value) -> Draft:
    """The valid parts of a topology file's value."""
    return Draft(
        service_vpc=_service_vpc(_at(value, "service_vpc")),
        vpc_cidr=_block(_at(value, "vpc", "cidr")),
        subnets=_items(value, ("vpc", "subnets"), Subnet),
        nat_gateways=_items(value, ("vpc", "nat_gateways"), NatGateway),
        functions=_items(value, ("functions",), Function),
        servers=_items(value, ("servers",), Server),
        subnet_names=_names(value, "vpc", "subnets"),
        nat_gateway_names=_names(value, "vpc", "nat_gateways"),
    )


def _at(value: Value, *path: str) -> Value:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _service_vpc(value: Value) -> ServiceVpc | None:
    return ServiceVpc() if value is None else _valid(ServiceVpc, value)


def _block(value: Value) -> IPv4Network | None:
    try:
        return TypeAdapter[IPv4Network](Block).validate_python(value)
    except ValidationError:
        return None


def _valid(model: type[M], value: Value) -> M | None:
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _items(value: Value, path: tuple[str, ...], model: type[M]) -> tuple[Item[M], ...]:
    valid = ((index, _valid(model, raw)) for index, raw in enumerate(_list(_at(value, *path))))
    return tuple(Item((*path, index), item) for index, item in valid if item is not None)


def _names(value: Value, *path: str) -> tuple[str, ...]:
    names: Iterable[Value] = (_at(item, "name") for item in _list(_at(value, *path)))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))
