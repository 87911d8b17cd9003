"""The topology file of a capacity plan: opened by a drawing and by its sums, as the files that ship are."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from shlex import quote
from string import ascii_lowercase
from textwrap import wrap

from lab.capacity.demand import CapacityPlan
from lab.schema.limits import ENI_CONNECTIONS, NAT_CONNECTIONS_PER_DESTINATION

__all__ = ["PLANNED", "gateway_names", "topology_text"]

PLANNED = "planned.yaml"

_WIDTH = 120
_FIRST_SERVER = 10
_TIMES = "\u00d7"


def topology_text(plan: CapacityPlan, file: str = PLANNED) -> str:
    """YAML for `lab up`; `file` is what the command in its header calls it."""
    header = ("# yaml-language-server: $schema=schema.json", *_commented(_header(plan, file)))
    return "\n".join((*header, "", *_body(plan), ""))


def gateway_names(plan: CapacityPlan) -> tuple[str, ...]:
    """What the NAT gateways are called, in the order of the layout."""
    count = len(plan.layout.gateways)
    return ("natgw",) if count == 1 else tuple(f"natgw-{each}" for each in ascii_lowercase[:count])


def _subnet_names(plan: CapacityPlan) -> tuple[str, ...]:
    return tuple(f"private-{each}" for each in ascii_lowercase[: plan.layout.subnets])


def _public_names(plan: CapacityPlan) -> tuple[str, ...]:
    count = len(plan.layout.gateways)
    return ("public",) if count == 1 else tuple(f"public-{each}" for each in ascii_lowercase[:count])


def _server_names(plan: CapacityPlan) -> tuple[str, ...]:
    count = plan.demand.servers
    return ("cache",) if count == 1 else tuple(f"cache-{each + 1}" for each in range(count))


def _server_address(index: int) -> str:
    return f"203.0.113.{_FIRST_SERVER + index}"


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────────────────


def _body(plan: CapacityPlan) -> Iterator[str]:
    held = plan.demand.port_hold_s
    yield "version: 1"
    yield f"name: peak-{plan.demand.connections}"
    yield ""
    if held:
        yield "hyperplane_eni:"
        yield f"  port_hold: {held}s"
        yield ""
    yield from _vpc(plan, f", port_hold: {held}s" if held else "")
    yield ""
    yield "functions:"
    yield "  - name: checkout"
    names = f"subnets: [{', '.join(_subnet_names(plan))}]"
    yield from wrap(names, _WIDTH, initial_indent="    ", subsequent_indent=" " * 14, break_on_hyphens=False)
    yield "    security_groups: [default]"
    yield ""
    yield "servers:"
    for index, name in enumerate(_server_names(plan)):
        place = f"hostname: {name}.example.com, address: {_server_address(index)}, port: 443"
        yield f"  - {{name: {name}, {place}}}"


def _vpc(plan: CapacityPlan, settings: str) -> Iterator[str]:
    gateways = tuple(zip(gateway_names(plan), _public_names(plan), plan.layout.gateways, strict=True))
    routes = [name for name, _, gateway in gateways for _ in range(gateway.subnets)]
    yield "vpc:"
    yield "  cidr: 10.0.0.0/16"
    yield "  subnets:"
    for index, (_, public, _) in enumerate(gateways):
        yield f"    - {{name: {public}, cidr: 10.0.{index}.0/24}}"
    for index, (name, route) in enumerate(zip(_subnet_names(plan), routes, strict=True), len(gateways)):
        yield f"    - {{name: {name}, cidr: 10.0.{index}.0/24, default_route: {route}}}"
    yield "  nat_gateways:"
    for name, public, gateway in gateways:
        yield f"    - {{name: {name}, subnet: {public}, elastic_ips: {gateway.elastic_ips}{settings}}}"


# ── The header ──────────────────────────────────────────────────────────────────────────────────────────────


def _commented(lines: Iterator[str]) -> Iterator[str]:
    return (f"# {line}".rstrip() for line in lines)


def _header(plan: CapacityPlan, file: str) -> Iterator[str]:
    yield ""
    yield from wrap(_planned_for(plan), _WIDTH - 2)
    yield ""
    yield from _Drawing(plan).lines()
    yield ""
    yield from _sums(plan)
    yield ""
    yield from wrap(_what_it_shows(plan), _WIDTH - 2)
    yield ""
    # A line break in a file's name would end the comment.
    yield f"    sudo lab up {quote(file) if file.isprintable() else PLANNED}"
    yield from _bursts(plan)


def _planned_for(plan: CapacityPlan) -> str:
    demand = plan.demand
    to = "one server" if demand.servers == 1 else f"{demand.servers} servers, evenly"
    free = f"{demand.headroom_percent} % of each limit left free" if demand.headroom_percent else "nothing left free"
    return f"Planned for a peak of {demand.connections:,} connections to {to}: {free}."


def _sums(plan: CapacityPlan) -> Iterator[str]:
    layout, servers = plan.layout, plan.demand.servers
    eni = f"{ENI_CONNECTIONS:,} connections per Hyperplane ENI {_TIMES} {layout.subnets}"
    if len(layout.gateways) == 1:
        nat = f"{NAT_CONNECTIONS_PER_DESTINATION:,} per Elastic IP and destination {_TIMES} {layout.elastic_ips}"
        nat += f" {_TIMES} {servers} servers" if servers > 1 else ""
    else:
        nat = f"{layout.elastic_ips} Elastic IPs, each subnet through its NAT gateway"
    width = max(len(eni), len(nat))
    figures = (layout.eni_capacity, layout.nat_capacity(servers))
    digits = max(len(f"{each:,}") for each in figures)
    for text, figure, kind in zip((eni, nat), figures, ("hyperplane_eni", "nat_gateway"), strict=True):
        binds = "   ◄── binds" if plan.bottleneck == kind else ""
        yield f"    {text:<{width}} = {figure:>{digits},}{binds}"


def _what_it_shows(plan: CapacityPlan) -> str:
    kind = "a Hyperplane ENI" if plan.bottleneck == "hyperplane_eni" else "a NAT gateway"
    evenly = "" if plan.demand.servers == 1 else " if all servers get their share"
    return f"Connection number {plan.capacity + 1:,} is the first one dropped{evenly}, by {kind}."


def _bursts(plan: CapacityPlan) -> Iterator[str]:
    if plan.demand.servers == 1:
        burst = f"sudo lab burst -n {plan.capacity + 1}"
        yield f"    {burst:<32} {plan.capacity:,} established, 1 timed out, bottleneck {plan.bottleneck}"
        return
    share, more = divmod(plan.demand.connections, plan.demand.servers)
    for index, name in ((0, "cache-1"), (1, "cache-2")):
        yield f"    sudo lab burst -n {share + (index < more)} --server {name} --leave-open"
    if plan.demand.servers > 2:  # noqa: PLR2004 - the two that are shown
        yield "    …"


# ── The drawing ─────────────────────────────────────────────────────────────────────────────────────────────

# Columns, as in the files that ship.
_FANNED, _SERVICE_END, _ENI, _GATHERED, _NAT, _VPC_END, _SPREAD, _SERVER = 25, 28, 34, 50, 61, 72, 76, 79

_DRAWN_SERVERS = 3

_JOINTS = {
    # left, right, up, down
    (True, True, False, False): "─",
    (True, True, False, True): "┬",
    (True, True, True, False): "┴",
    (True, True, True, True): "┼",
    (True, False, False, True): "┐",
    (True, False, True, False): "┘",
    (True, False, True, True): "┤",
    (False, True, False, True): "┌",
    (False, True, True, False): "└",
    (False, True, True, True): "├",
    (False, False, True, True): "│",
}


class _Drawing:
    """From the function over its ENIs and NAT gateways to the servers, a row for each ENI."""

    def __init__(self, plan: CapacityPlan) -> None:
        self._plan = plan
        self._cells: dict[tuple[int, int], str] = {}
        enis, gateways = self._enis_and_gateways()
        self._function(enis)
        self._servers(gateways)

    def lines(self) -> Iterator[str]:
        """All rows, below the names of the three places."""
        yield "     service VPC            │              VPC 10.0.0.0/16              │     internet"
        for row in range(-1, max(row for row, _ in self._cells) + 1):
            cells = {_SERVICE_END: "│", _VPC_END: "│"} | {at: char for (r, at), char in self._cells.items() if r == row}
            yield "".join(cells.get(column, " ") for column in range(max(cells) + 1))

    def _write(self, row: int, column: int, text: str) -> None:
        self._cells.update({(row, column + offset): char for offset, char in enumerate(text)})

    def _join(self, column: int, left: Collection[int], right: Collection[int]) -> None:
        """A vertical line with arms in these rows."""
        first, last = min(*left, *right), max(*left, *right)
        for row in range(first, last + 1):
            self._write(row, column, _JOINTS[row in left, row in right, row > first, row < last])

    def _enis_and_gateways(self) -> tuple[list[int], list[int]]:
        """Draw them; their rows."""
        enis: list[int] = []
        gateways: list[int] = []
        names = iter(_subnet_names(self._plan))
        row = 0
        for name, gateway in zip(gateway_names(self._plan), self._plan.layout.gateways, strict=True):
            rows = range(row, row + gateway.subnets)
            middle = rows[(len(rows) - 1) // 2]
            for each in rows:
                self._write(each, _FANNED + 1, f"─────── eni-{next(names)} ──")
            self._join(_GATHERED, rows, (middle,))
            self._write(middle, _GATHERED + 1, f"── vpc ── {name} ".ljust(_SPREAD - _GATHERED - 1, "─"))
            labels = self._labels(gateway.elastic_ips)
            for offset, label in enumerate(labels, 1):
                self._write(middle + offset, _NAT, label)
            enis += rows
            gateways.append(middle)
            row = max(rows.stop, middle + len(labels) + 1)
        return enis, gateways

    def _labels(self, elastic_ips: int) -> tuple[str, ...]:
        eips = "1 EIP" if elastic_ips == 1 else f"{elastic_ips} EIPs"
        carries = f"{elastic_ips * NAT_CONNECTIONS_PER_DESTINATION:,}"
        if len(self._plan.layout.gateways) > 1:
            return eips, carries
        return eips, f"{carries} to", "one server"

    def _function(self, enis: list[int]) -> None:
        caller = enis[(len(enis) - 1) // 2]
        self._write(caller, 3, "checkout ────── svc ──")
        self._join(_FANNED, (caller,), enis)
        resolver = max(enis[-1] + 1, caller + 2)
        for row in range(caller + 1, resolver):
            self._write(row, 20, "│")
        self._write(caller + 1, 3, "environments")
        self._write(resolver, 17, "resolver")
        self._write(resolver, _ENI, f"{ENI_CONNECTIONS:,}" + (" each" if len(enis) > 1 else ""))

    def _servers(self, gateways: list[int]) -> None:
        names = [f"{name}.example.com" for name in _server_names(self._plan)]
        if len(names) == 1:
            at = gateways[(len(gateways) - 1) // 2]
            self._write(at + 1, _SERVER, f"{_server_address(0)}:443")
            rows = {at: names[0]}
        else:
            rows = dict(enumerate(names)) if len(names) <= _DRAWN_SERVERS else {0: names[0], 2: names[-1]}
            if len(names) > len(rows):
                self._write(1, _SERVER, f"… {len(names)} servers")
        self._join(_SPREAD, gateways, rows)
        for row, name in rows.items():
            self._write(row, _SPREAD + 1, f"─ {name}")
