"""The Hyperplane ENIs in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn, timeouts
from lab.schema.names import NO_ROUTE, name_of_further_eni
from lab.topology import Eni, Topology, hyperplane_enis


def drawn(topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
    """The ENIs with their limit and settings that are not the default; after each, those that may appear beside it."""
    settings = topology.hyperplane_eni
    limit = f"{settings.connection_limit:,}"
    for eni in hyperplane_enis(topology):
        more = tuple(_settings(topology, eni, passed))
        lines = (f"limit {limit}", *(("per server",) if settings.per_destination else ()), *more)
        yield Drawn(eni.name, eni.name, lines, limit, lines[1:], eni.subnet.name)
        for number in range(2, settings.most_enis + 1):
            name = name_of_further_eni(eni.name, number)
            lines = (f"{limit} more,", *((f"{settings.eni_scaling.after_s} s later",) if settings.eni_scaling else ()))
            yield Drawn(name, name, lines, limit, subnet=eni.subnet.name, beside=eni.name)


def _settings(topology: Topology, eni: Eni, passed: Collection[str]) -> Iterator[str]:
    yield from timeouts(topology.hyperplane_eni)
    if {group.name for group in topology.security_groups} & set(eni.security_groups):
        yield f"groups {', '.join(eni.security_groups)}"
    yield from (f"ACL {acl.name}" for acl in topology.network_acls if eni.subnet.name in acl.subnets)
    if eni.subnet.default_route == NO_ROUTE:
        yield "no default route" if eni.name in passed else "no route"
