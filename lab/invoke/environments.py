"""Who the execution environments of a function are: users, addresses, ENIs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from lab.kernel.routes_of_users import UserRoutes
from lab.plan.objects import FleetPlan, Plan, Route, Rule
from traffic.environments.spec import Environment

__all__ = ["environments_of", "routes_of"]


def environments_of(fleet: FleetPlan, users: range | None, count: int) -> tuple[Environment, ...]:
    """So many environments; like connections of a burst they take turns at the function's ENIs.

    Their addresses are the last ones of those for real sockets, whose first ones bursts have. Without user numbers all
    are the user of the sandbox, and have the fleet's own address and its first ENI.
    """
    if users is None:
        return (Environment(0, fleet.paths[0].eni, None),) * count
    return tuple(_environment(fleet, uid, number) for number, uid in enumerate(users[:count]))


def _environment(fleet: FleetPlan, uid: int, number: int) -> Environment:
    path = fleet.paths[number % len(fleet.paths)]
    return Environment(uid, path.eni, path.last_address - number // len(fleet.paths))


def routes_of(plan: Plan, fleet: FleetPlan, environments: tuple[Environment, ...]) -> Iterator[UserRoutes]:
    """The routes that give each environment's connections its address, by the gateway that its ENI's block has."""
    inside = [item for item in plan.objects if isinstance(item, (Route, Rule)) and item.namespace == fleet.namespace]
    gateways = {item.table: item.via for item in inside if isinstance(item, Route) and item.via is not None}
    rules = [item for item in inside if isinstance(item, Rule)]
    (segment,) = (rule.destination for rule in rules if rule.destination is not None and rule.source is None)
    for environment in environments:
        if environment.address is not None:
            gateway = gateways[_table_of(rules, environment.address)]
            yield UserRoutes(environment.uid, environment.address, fleet.interface, gateway, segment)


def _table_of(rules: list[Rule], address: IPv4Address) -> int:
    return next(rule.table for rule in rules if address in (rule.source or IPv4Network("0.0.0.0/32")))
