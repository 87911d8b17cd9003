"""Drawings of several VPCs: each with its range and router, and what leads from one to another between them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from lab.graph import draw, to_dot, to_mermaid, to_svg, to_text
from lab.graph.words import labelled
from lab.topology import Topology
from lab.topology.checks import check
from lab.topology.draft import draft
from tests.support.topologies import function, server, shipped

RECT = "{http://www.w3.org/2000/svg}rect"


def vpc(name: str, number: int, *subnets: str, route: str | None = "tgw", **more: Any) -> dict[str, Any]:
    """A VPC whose subnets have that default route, and a subnet for an attachment."""
    settings = {} if route is None else {"default_route": route}
    listed = [{"name": each, "cidr": f"10.{number}.{index}.0/24", **settings} for index, each in enumerate(subnets)]
    attached = {"name": f"{name}-tgw", "cidr": f"10.{number}.255.0/28"}
    return {"name": name, "cidr": f"10.{number}.0.0/16", "subnets": [*listed, attached], **more}


def topology(*vpcs: dict[str, Any], **more: Any) -> Topology:
    """Two functions in the VPCs `orders` and `search`, which share a Transit Gateway to the VPC `central`."""
    central = vpc("central", 3, "public", route=None, nat_gateways=[{"name": "natgw", "subnet": "public"}])
    central["subnets"][-1]["default_route"] = "natgw"
    named = [made["name"] for made in (*vpcs, central)]
    gateway = {"name": "tgw", "attachments": [{"vpc": name, "subnet": f"{name}-tgw"} for name in named]}
    document = {
        "version": 1,
        "name": "several",
        "vpcs": [*vpcs, central],
        "transit_gateways": [{**gateway, "default_route": "central"}],
        "functions": [function("checkout", "orders-a", "orders-b"), function("find", "search-a")],
        "servers": [server()],
        **more,
    }
    assert check(draft(document)) == ()
    return Topology.model_validate(document)


ORDERS, SEARCH = vpc("orders", 1, "orders-a", "orders-b"), vpc("search", 2, "search-a")
ENDPOINT = {"name": "store", "subnet": "orders-b", "server": "store"}
IDLE = {"name": "nat-idle", "subnet": "orders-tgw"}
SERVERS = [server(), server("store", 11)]
PLAIN = topology(ORDERS, SEARCH)
WITH_ENDPOINT = topology(
    {**ORDERS, "interface_endpoints": [ENDPOINT]},
    SEARCH,
    functions=[function("checkout", "orders-a", "orders-b")],
    servers=SERVERS,
)
OUTSIDE = topology(ORDERS, SEARCH, functions=[function("checkout", "orders-a"), {"name": "out"}])
IDLE_GATEWAY = topology({**ORDERS, "nat_gateways": [IDLE]}, SEARCH)
ALONE: dict[str, Any] = {
    "transit_gateways": [{"name": "tgw", "attachments": [{"vpc": "orders", "subnet": "orders-tgw"}]}],
    "functions": [function("checkout", "orders-a", "orders-b")],
    "vpcs": [ORDERS],
}
NO_WAY_ON = topology(**ALONE)
RESOLVER = topology(**ALONE, service_vpc={"resolver": {"in": "vpc", "subnet": "orders-a"}})
APART = topology(
    vpc("orders", 1, "orders-a", "orders-b", route="nat-o", nat_gateways=[{"name": "nat-o", "subnet": "orders-tgw"}]),
    vpc("search", 2, "search-a", route="nat-s", nat_gateways=[{"name": "nat-s", "subnet": "search-tgw"}]),
    transit_gateways=[],
)
EVERY_ONE = {
    "plain": PLAIN,
    "endpoint": WITH_ENDPOINT,
    "outside": OUTSIDE,
    "resolver": RESOLVER,
    "idle": IDLE_GATEWAY,
    "no_way_on": NO_WAY_ON,
    "apart": APART,
}
each_of_them = pytest.mark.parametrize("made", EVERY_ONE.values(), ids=EVERY_ONE)


def test_edges_are_the_hops_of_paths() -> None:
    """From the function by its ENI over the Transit Gateway to the NAT gateway of another VPC, and to the server."""
    drawing = draw(shipped("transit_gateway"))
    assert drawing.edges == (
        ("fn-checkout", "eni-orders"),
        ("fn-refunds", "eni-payments"),
        ("eni-orders", "tgw"),
        ("eni-payments", "tgw"),
        ("tgw", "natgw"),
        ("natgw", "srv-cache"),
    )
    assert {node.name: node.vpc for node in drawing.column("enis", "middle", "exits")} == {
        "eni-orders": "orders",
        "eni-payments": "payments",
        "tgw": None,
        "natgw": "egress",
    }


@each_of_them
def test_nothing_covers_anything(made: Topology) -> None:
    """Every name stands in the text once, with every one of its lines, and so does the title of each VPC."""
    drawing = draw(made)
    text = to_text(replace(drawing, remarks=()))
    words = text.replace("│", " ").split()
    assert all(words.count(node.title) == 1 for node in drawing.column("functions", "enis", "middle", "exits"))
    assert all(line in text for node in drawing.column("exits", "servers") for line in node.lines)
    assert all(vpc.title in text for vpc in drawing.clusters if any(node.vpc == vpc.name for node in drawing.nodes))


@each_of_them
def test_boxes_stand_apart(made: Topology) -> None:
    """No box of the SVG covers another one, and none is outside the sheet."""
    root = ET.fromstring(to_svg(draw(made)))  # noqa: S314 - our own text
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.iter(RECT)
        if rect.attrib["class"].startswith("box")
    ]
    assert all(x >= 0 and y >= 0 and x + wide <= width and y + high <= height for x, y, wide, high in boxes)
    for (x, y, wide, high), (left, top, wide2, high2) in combinations(boxes, 2):
        assert x + wide <= left or left + wide2 <= x or y + high <= top or top + high2 <= y


@each_of_them
def test_every_node_is_in_a_cluster_of_its_vpc(made: Topology) -> None:
    """DOT and Mermaid have each node once, in the part of its subnet."""
    drawing = draw(made)
    for node in drawing.nodes:
        assert to_dot(drawing).count(f'"{node.name}" [label=') == 1
        assert to_mermaid(drawing).count(f"<b>{node.title}</b>") == 1
    subnets = [subnet.name for vpc in made.vpcs for subnet in vpc.subnets]
    assert [name for name in subnets if f'"cluster {name}"' in to_dot(drawing)] == subnets


def test_an_endpoint_in_one_vpc_past_the_transit_gateway() -> None:
    """Connections that stay in their VPC pass the Transit Gateway by a line; the VPC is drawn on both sides of it."""
    assert to_text(draw(WITH_ENDPOINT)) == PAST_THE_TRANSIT_GATEWAY


PAST_THE_TRANSIT_GATEWAY = """\
    service VPC     │    VPC orders 10.1.0.0/16    │                │   VPC orders 10.1.0.0/16   │     internet
                    │                              │                │                            │
                  ┌── eni-orders-a ──┐             │                │                            │
 checkout ── svc ─┤ │ limit 65,000   ├─ vpc-orders ──┬─────────────── vpc-orders ──── vpce-store ── store.example.com
              │   └── eni-orders-b ──┘             │ └─ tgw ──────┐ │                 for store  │  203.0.113.11:443
           resolver │ limit 65,000                 │    no limit  │ │                 no limit   │
                    │                              │              │ ├────────────────────────────┤
                    │                              │              │ │  VPC central 10.3.0.0/16   │
                    │                              │              └── vpc-central ─── natgw ─────── cache.example.com
                    │                              │                │                 1 EIP      │  203.0.113.10:443
                    │                              │                │                 55,000     │
                    │                              │                │                 per server │
"""


def test_a_transit_gateway_that_leads_nowhere() -> None:
    """Connections end at the Transit Gateway, with a cross and a sentence, not at their ENI."""
    drawing = draw(NO_WAY_ON)
    assert [node.name for node in drawing.nodes if node.dead] == ["tgw"]
    assert "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}" in to_text(drawing)
    assert all("route" in remark for remark in drawing.remarks)


def test_routers_say_what_they_hide() -> None:
    """Where two ENIs of a VPC leave by one router for different places, each says for which."""
    two = vpc("orders", 1, "orders-a", "orders-b", nat_gateways=[{"name": "nat-own", "subnet": "orders-tgw"}])
    two["subnets"][1]["default_route"] = "nat-own"
    labels = {node.name: node.labels for node in labelled(draw(topology(two, SEARCH))).column("enis")}
    assert labels == {"eni-orders-a": ("→ tgw",), "eni-orders-b": ("→ nat-own",), "eni-search-a": ()}
