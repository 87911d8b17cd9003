"""The topologies that ship: each says in its header what it is, and is that."""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

import pytest

from lab.capacity.predict import predict
from lab.topology import Topology, hyperplane_enis, load

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


class Shipped(NamedTuple):
    """One row of the table of topologies: what a large burst establishes, and what stops the rest."""

    file: str
    enis: int
    eips: int
    established: int
    bottleneck: str


SHIPPED = (
    Shipped("one_subnet.yaml", 1, 1, 55_000, "nat_gateway"),
    Shipped("one_subnet_two_eips.yaml", 1, 2, 65_000, "hyperplane_eni"),
    Shipped("two_subnets.yaml", 2, 3, 130_000, "hyperplane_eni"),
    Shipped("seven_subnets_eight_eips.yaml", 7, 8, 440_000, "nat_gateway"),
    Shipped("tiny.yaml", 2, 2, 30, "nat_gateway"),
    Shipped("real_programs.yaml", 2, 2, 400, "hyperplane_eni"),
    Shipped("idle_timeout.yaml", 1, 1, 300, "nat_gateway"),
    Shipped("half_open.yaml", 1, 1, 300, "hyperplane_eni"),
    Shipped("port_hold.yaml", 1, 1, 300, "nat_gateway"),
    Shipped("eni_scaling.yaml", 1, 3, 65_000, "hyperplane_eni"),
    Shipped("two_ports.yaml", 2, 1, 55_000, "nat_gateway"),
    Shipped("two_servers.yaml", 2, 1, 55_000, "nat_gateway"),
    Shipped("per_destination.yaml", 1, 2, 65_000, "hyperplane_eni"),
)

each = pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: Path(shipped.file).stem)


def capacities(topology: Topology) -> dict[str, int]:
    """How many connections to one server each kind of node carries."""
    (nat_gateway,) = topology.nat_gateways
    return {
        "hyperplane_eni": len(hyperplane_enis(topology)) * topology.hyperplane_eni.connection_limit,
        "nat_gateway": nat_gateway.elastic_ips * nat_gateway.connections_per_destination,
    }


def header(file: str) -> str:
    """The comment that opens a topology."""
    lines = (TOPOLOGIES / file).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def test_all_are_here() -> None:
    """The folder's README tells of every topology in it, once in its table."""
    rows = re.findall(
        r"^\| \[`(\w+\.yaml)`\]\(\1\)", (TOPOLOGIES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))
    assert {shipped.file for shipped in SHIPPED} <= set(rows)


_STORY = re.compile(
    r"^# +sudo lab burst -n (?P<n>\d+)(?: --connect-timeout (?P<timeout>\d+))?(?: --function (?P<function>[\w-]+))?"
    r"(?: --client (?P<client>[\w-]+))?(?: --server (?P<server>[\w-]+))? +(?P<established>[\d,]+) established"
    r"(?:, (?P<lost>[\d,]+) (?:timed out|closed by the server|throttled|without a port))?"
    r"(?:, bottleneck (?P<bottleneck>\w+))?",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_header_bursts_are_predicted(path: Path) -> None:
    """Every burst in a header, each on its own, shows what is predicted."""
    topology = load(path)
    for story in _STORY.finditer(header(path.name)):
        predicted = predict(
            topology,
            int(story["n"]),
            source=story["client"] or story["function"],
            server=story["server"],
            connect_timeout_s=float(story["timeout"] or 30),
        )
        told = [int((story[key] or "0").replace(",", "")) for key in ("established", "lost")]
        assert [predicted.established, sum(told)] == [told[0], int(story["n"])]
        assert predicted.bottleneck == story["bottleneck"]


@each
def test_name(shipped: Shipped) -> None:
    """A topology bears its file's name."""
    assert load(TOPOLOGIES / shipped.file).name == Path(shipped.file).stem.replace("_", "-")


@each
def test_limits(shipped: Shipped) -> None:
    """ENIs, Elastic IPs, capacity and binding limit are those of the table."""
    topology = load(TOPOLOGIES / shipped.file)
    capacity = capacities(topology)
    assert len(hyperplane_enis(topology)) == shipped.enis
    assert topology.nat_gateways[0].elastic_ips == shipped.eips
    assert min(capacity.values()) == shipped.established
    assert min(capacity, key=capacity.__getitem__) == shipped.bottleneck


@each
def test_header_numbers(shipped: Shipped) -> None:
    """The header's sums are right, and its arrow points at the limit that binds."""
    sums = re.findall(r"([\d,]+) .*\u00d7\s+(\d+)\s+=\s+([\d,]+)(.*◄── binds)?", header(shipped.file))
    eni, nat_gateway = ((int(a.replace(",", "")), int(b), int(c.replace(",", "")), bool(d)) for a, b, c, d in sums)
    capacity = capacities(load(TOPOLOGIES / shipped.file))
    for (each_one, count, total, binds), kind in ((eni, "hyperplane_eni"), (nat_gateway, "nat_gateway")):
        assert each_one * count == total == capacity[kind]
        assert binds == (kind == shipped.bottleneck)


@each
def test_header_burst(shipped: Shipped) -> None:
    """The burst in the header establishes and loses what the header says, by the binding limit alone."""
    match = re.search(
        r"burst -n (\d+)(?: --[\w-]+(?: \d+)?)*\s+#?\s+([\d,]+) established, ([\d,]+) timed out, bottleneck (\w+)",
        header(shipped.file),
    )
    assert match
    offered, established, timed_out = (int(match[group].replace(",", "")) for group in (1, 2, 3))
    assert (established, match[4]) == (shipped.established, shipped.bottleneck)
    assert established + timed_out == offered
    others = {kind: limit for kind, limit in capacities(load(TOPOLOGIES / shipped.file)).items() if kind != match[4]}
    assert shipped.bottleneck == "hyperplane_eni" or offered <= min(others.values())


@each
def test_editors_find_the_schema(shipped: Shipped) -> None:
    """The first line leads an editor to the schema in the same folder."""
    first, *_ = header(shipped.file).splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    assert (TOPOLOGIES / "schema.json").exists()
