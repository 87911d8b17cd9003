"""What of a plan a namespace has, as the kernel says: links, addresses, neighbours, routes, rules, tables, settings.

Each kind of object is looked up by what it is known by, so that what others have added is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.kernel.netfilter import nftables
from lab.kernel.netns import NamespaceThread
from lab.kernel.rtnl import IFF_UP, PROTOCOLS
from lab.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    KernelObject,
    Neighbour,
    Route,
    RouteKind,
    Rule,
    Ruleset,
    Sysctl,
)
from lab.slots.nft import Chain, Table

if TYPE_CHECKING:
    from pyroute2 import IPRoute

__all__ = ["Links", "has", "missing_parts", "setting", "there"]

_AF_INET = 2
_NUD_PERMANENT = 0x80  # linux/neighbour.h: what ARP has learned instead may be forgotten again
_ROUTE_KINDS: dict[int, RouteKind] = {1: "unicast", 2: "local", 6: "blackhole"}  # RTN_*, linux/rtnetlink.h


_Route = tuple[int, IPv4Network, RouteKind | None, str | None, IPv4Address | None]
_Rule = tuple[int, int, IPv4Network | None, IPv4Network | None, str | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Links:
    """The interfaces of a namespace, and what is set on them."""

    names: frozenset[str]
    up: frozenset[str]
    """Those that are set up, whether or not they have a carrier."""
    bridges: dict[str, str]
    """Interface → the bridge that it is a port of."""
    addresses: frozenset[tuple[str, IPv4Interface]]
    neighbours: frozenset[tuple[str, IPv4Address, str]]
    routes: frozenset[_Route]
    """Table, destination, kind, interface and next hop of each."""
    rules: frozenset[_Rule]
    """Priority, table, source, destination, incoming interface, protocol and destination port of each."""


def there(inside: NamespaceThread) -> Links:
    """What a namespace has by rtnetlink, from one dump of each kind."""
    return inside.ip(_links)


def _links(ip: IPRoute) -> Links:
    links = {link["index"]: link for link in ip.get_links()}
    names = {index: link.get("ifname") for index, link in links.items()}
    return Links(
        names=frozenset(names.values()),
        up=frozenset(names[index] for index, link in links.items() if link["flags"] & IFF_UP),
        bridges={
            names[index]: names[link.get("master")] for index, link in links.items() if link.get("master") in names
        },
        addresses=frozenset(
            (names[each["index"]], IPv4Interface((each.get("local") or each.get("address"), each["prefixlen"])))
            for each in ip.get_addr(family=_AF_INET)
            if each["index"] in names
        ),
        neighbours=frozenset(
            (names[each["ifindex"]], IPv4Address(each.get("dst")), each.get("lladdr"))
            for each in ip.get_neighbours(family=_AF_INET)
            if each.get("lladdr") and each["ifindex"] in names and each["state"] & _NUD_PERMANENT
        ),
        routes=frozenset(_route(names, each) for each in ip.get_routes(family=_AF_INET)),
        rules=frozenset(map(_rule, ip.get_rules(family=_AF_INET))),
    )


def _route(names: dict[int, str], each: Any) -> _Route:
    destination = _network(each.get("dst"), each["dst_len"]) or IPv4Network("0.0.0.0/0")
    gateway = each.get("gateway")
    kind, interface = _ROUTE_KINDS.get(each["type"]), names.get(each.get("oif"))
    return each.get("table"), destination, kind, interface, IPv4Address(gateway) if gateway else None


def _rule(each: Any) -> _Rule:
    ports = each.get("dport_range")
    return (
        each.get("priority") or 0,
        each.get("table"),
        _network(each.get("src"), each["src_len"]),
        _network(each.get("dst"), each["dst_len"]),
        each.get("iifname"),
        each.get("ip_proto"),
        _port(ports),
    )


def _port(ports: Any) -> int | None:
    """The port of a range of one."""
    return None if ports is None else int(str(ports).partition(":")[0])


def _network(address: str | None, length: int) -> IPv4Network | None:
    return IPv4Network((address, length)) if address else None


def has(links: Links, item: KernelObject) -> bool:
    """Whether this object of the namespace is there; one of a kind that these links do not tell of is."""
    look_up = _LOOK_UP.get(type(item))
    return look_up is None or look_up(links, item)


def _has_route(links: Links, route: Route) -> bool:
    return any(
        (table, destination, kind, via) == (route.table, route.destination, route.type, route.via)
        and route.interface in (None, interface)
        for table, destination, kind, interface, via in links.routes
    )


def _has_rule(links: Links, rule: Rule) -> bool:
    protocol = None if rule.protocol is None else PROTOCOLS[rule.protocol]
    selected = (rule.source, rule.destination, rule.input_interface, protocol, rule.destination_port)
    return (rule.priority, rule.table, *selected) in links.rules


_LOOK_UP: dict[type, Callable[[Links, Any], bool]] = {
    Bridge: lambda links, item: item.interface in links.names,
    BridgePort: lambda links, item: links.bridges.get(item.interface) == item.bridge,
    Address: lambda links, item: (item.interface, item.address) in links.addresses,
    Neighbour: lambda links, item: (item.interface, item.address, item.mac) in links.neighbours,
    Route: _has_route,
    Rule: _has_rule,
}


def missing_parts(inside: NamespaceThread, ruleset: Ruleset) -> tuple[str, ...] | None:
    """What of a table is gone (`set x`, `rules of y`); None if all of the table is."""
    return inside.run(_missing_parts, ruleset.table)


def _missing_parts(table: Table) -> tuple[str, ...] | None:
    """Runs inside."""
    family = nftables.FAMILIES[table.family]
    if table.name not in nftables.tables(family):
        return None
    rules = nftables.rules(table.name, family)
    known = {
        "chain": rules.keys(),
        "set": nftables.set_names(table.name, family),
        "counter": nftables.counters(table.name, family).keys(),
    }
    return tuple(_gone(table, known, rules))


def _gone(table: Table, known: Mapping[str, Collection[str]], rules: dict[str, int]) -> Iterator[str]:
    for part in table.parts:
        if part.name not in known[part.kind]:
            yield f"{part.kind} {part.name}"
        elif isinstance(part, Chain) and rules[part.name] < len(part.rules):
            yield f"rules of {part.name}"


def setting(inside: NamespaceThread, sysctl: Sysctl) -> str:
    """A setting's value as the plan would write it; empty where this kernel has no such setting."""
    path = Path("/proc/sys", sysctl.key.replace(".", "/"))
    return inside.run(lambda: " ".join(path.read_text(encoding="utf-8").split()) if path.exists() else "")
