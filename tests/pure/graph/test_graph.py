"""Drawings of topologies: who leads to whom can be read from them, whatever the topology."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
import shutil
import subprocess
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
import pytest

from lab.graph import Occupancy, draw, to_dot, to_mermaid, to_svg, to_text
from lab.graph.bands import bands
from lab.graph.placing import place
from lab.graph.words import labelled
from lab.topology import Topology
from tests.support.cli import Run
from tests.support.examples import examples
from tests.support.topologies import (
    SHIPPED,
    each_shipped,
    function,
    nat_gateway,
    shipped,
    topologies,
    topology,
)

TWO_SUBNETS = str(next(path for path in SHIPPED if path.stem == "two_subnets"))


def many(enis: int, gateways: int) -> Topology:
    """So many subnets with a NAT gateway in turn."""
    return topology(
        {f"private-{number}": f"natgw{number % gateways}" for number in range(enis)},
        function("checkout", *(f"private-{number}" for number in range(enis))),
        nat_gateways=tuple(nat_gateway(f"natgw{number}") for number in range(gateways)),
    )


def interlaced(**more: Any) -> Topology:
    """Two functions with two subnets each, of which each uses another NAT gateway: lines alone would mix them up."""
    return topology(
        {"a1": "gwa", "b1": "gwb", "a2": "gwa", "b2": "gwb"},
        function("f", "a1", "b1"),
        function("g", "a2", "b2"),
        nat_gateways=(nat_gateway("gwa"), nat_gateway("gwb")),
        **more,
    )


# ── What is in a drawing ────────────────────────────────────────────────────────────────────────────────────


def test_dead_end() -> None:
    """An ENI whose subnet has no route leads nowhere, and a sentence says why."""
    drawing = draw(shipped("no_route"))
    assert [node.name for node in drawing.nodes if node.dead] == ["eni-private-b"]
    assert drawing.into("exits") == (("eni-private-a", "natgw"),)
    assert drawing.remarks == ("eni-private-b: the subnet private-b has no route to cache",)
    assert "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}" in to_text(drawing)


def test_answers_that_do_not_come_back_are_no_dead_end() -> None:
    """Where a network ACL drops the answers, SYNs get through: the line goes on, the sentence is there."""
    drawing = draw(shipped("network_acl"))
    assert not any(node.dead for node in drawing.nodes)
    assert ("eni-private-a", "natgw") in drawing.into("exits")
    assert "ingress of the network ACL strict" in drawing.remarks[0]


def test_endpoint_leaves_the_nat_gateway_idle() -> None:
    """A NAT gateway that no connection takes stands at the router, and leads to no server."""
    drawing = draw(shipped("privatelink"))
    assert drawing.into("servers") == (("vpce-cache", "srv-cache"),)
    assert [node.lines for node in drawing.nodes if node.name == "natgw"] == [("1 EIP", "idle")]


def test_timeouts_that_are_not_the_default() -> None:
    """A node says what its file has set, and nothing of what is as always."""
    drawing = draw(shipped("idle_timeout"))
    assert "idle 60 s" in drawing.column("enis")[0].lines
    assert "idle 5 s" in drawing.column("exits")[0].lines
    assert not any("idle" in line for each in draw(shipped("tiny")).nodes for line in each.lines)


def test_numbers_in_the_place_of_limits() -> None:
    """With what it holds a limiter says that, FULL at the limit and not one connection before."""
    almost = draw(shipped("tiny"), {"eni-private-a": Occupancy(19, 20, 0), "eni-private-b": Occupancy(20, 20, 3)})
    assert [node.lines for node in almost.column("enis")] == [("19 of 20",), ("20 of 20", "FULL, 3 refused")]
    text = to_text(almost)
    assert "■■■■■■■■■·" in text
    assert text.count("■■■■■■■■■■") == 1


# ── Who leads to whom ───────────────────────────────────────────────────────────────────────────────────────


def test_interlaced_routes_are_said_in_words() -> None:
    """Where no order keeps lines apart, each ENI says which NAT gateway its connections take."""
    drawing = labelled(draw(interlaced()))
    said = {node.name: node.labels for node in drawing.column("enis")}
    assert said == {
        "eni-a1": ("→ nat-gwa",),
        "eni-b1": ("→ nat-gwb",),
        "eni-a2": ("→ nat-gwa",),
        "eni-b2": ("→ nat-gwb",),
    }
    text = to_text(draw(interlaced()))
    assert text.count("→ nat-gwa") == text.count("→ nat-gwb") == 2


def test_partly_shared_enis_are_said_in_words() -> None:
    """Functions that share some ENIs and not all: each ENI says whose it is."""
    shared = topology({"a": "natgw", "b": "natgw"}, function("f", "a", "b"), function("g", "b"))
    said = {node.name: node.labels for node in labelled(draw(shared)).column("enis")}
    assert said == {"eni-a": ("of f",), "eni-b": ("of f, g",)}


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_lines_suffice_for_what_ships(name: str) -> None:
    """No topology that ships needs words for who leads to whom."""
    drawing = labelled(draw(shipped(name)))
    assert not any(each.labels for each in drawing.nodes)


@examples(100)
@given(topologies(firewalls=True))
def test_bands_stand_apart(any_one: Topology) -> None:
    """Every pair is in one band; where not all lead to all it is in words, too; the rows of two bands never overlap."""
    drawing = labelled(draw(any_one))
    found = bands(drawing)
    placing = place(drawing, found, lambda node: 1 + len(node.lines) + len(node.labels), gap=2, between=2)
    columns = (
        (found.entries, tuple((eni, function) for function, eni in drawing.into("enis"))),
        *((of, drawing.into(column)) for column, of in found.into.items()),
    )
    for of, pairs in columns:
        assert sorted(pair for band in of for pair in pairs if pair[0] in band.near and pair[1] in band.far) == sorted(
            pairs
        )
        ranges = sorted(
            (min(rows), max(rows)) for band in of if (rows := [placing.tops[name] for name in (*band.near, *band.far)])
        )
        assert all(end < begin for (_, end), (begin, _) in pairwise(ranges))
        for band in of:
            whole = {(one, other) for one in band.near for other in band.far}
            assert band.complete == (whole <= set(pairs))


@examples(100)
@given(topologies(firewalls=True))
def test_nothing_covers_anything(any_one: Topology) -> None:
    """Every name stands in the text once, with every one of its lines."""
    drawing = draw(any_one)
    text = to_text(drawing)
    words = text.replace("│", " ").split()
    for node in drawing.nodes:
        assert node.title in words, node.title
    for node in drawing.column("exits", "servers"):
        assert all(line in text for line in node.lines)


# ── Forms ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["tiny", "one_subnet", "two_subnets", "two_zones", "privatelink", "outside_vpc"])
def test_usual_width(name: str) -> None:
    """The usual drawings fit into 80 columns."""
    assert max(map(len, to_text(draw(shipped(name))).splitlines())) <= 80


def test_many_nodes() -> None:
    """16 ENIs and 8 NAT gateways: a line for each ENI, in the order of their gateways."""
    text = to_text(draw(many(16, 8)))
    lines = text.splitlines()
    rows = [next(at for at, line in enumerate(lines) if f"eni-private-{n}  65,000" in line) for n in range(16)]
    assert len(set(rows)) == 16
    gateways = [next(at for at, line in enumerate(lines) if f"natgw{n}" in line) for n in range(8)]
    assert gateways == sorted(gateways)
    assert all(min(rows[n], rows[n + 8]) <= gateways[n] <= max(rows[n], rows[n + 8]) for n in range(8))


@each_shipped
def test_svg_stands_alone(path: Path) -> None:
    """It is well-formed, has a viewBox, and asks for nothing from elsewhere."""
    text = to_svg(draw(shipped(path.stem), {"natgw": Occupancy(5, None, 1), "eni-private-a": Occupancy(3, 3, 9)}))
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert text.count("http") == 1
    assert "url(" not in text
    assert "@import" not in text
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, wide, high = (float(box.attrib[each]) for each in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height


def test_svg_gauge() -> None:
    """A gauge is filled by what is held, and red when it is full."""
    half = to_svg(draw(shipped("one_subnet"), {"eni-private-a": Occupancy(32_500, 65_000, 0)}))
    root = ET.fromstring(half)  # noqa: S314 - our own text
    rects = {each.attrib["class"]: each for each in root.iter("{http://www.w3.org/2000/svg}rect")}
    assert float(rects["held"].attrib["width"]) == pytest.approx(float(rects["room"].attrib["width"]) / 2, abs=0.1)
    full = to_svg(draw(shipped("one_subnet"), {"eni-private-a": Occupancy(65_000, 65_000, 12)}))
    assert 'class="full"' in full
    assert "FULL, 12 refused" in full


@each_shipped
def test_dot_is_accepted(path: Path) -> None:
    """Graphviz draws it."""
    dot = shutil.which("dot")
    if dot is None:
        pytest.skip("graphviz is not installed: apt install graphviz")
    text = to_dot(draw(shipped(path.stem)))
    done = subprocess.run([dot, "-Tplain"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(line.startswith("edge ") for line in done.stdout.splitlines()) >= 3


def test_mermaid() -> None:
    """Subgraphs for both VPCs and each subnet, an arrow for each way, no hyphen where Mermaid reads one as an arrow."""
    text = to_mermaid(draw(shipped("two_zones")))
    assert text.startswith("flowchart LR\n")
    assert text.count("subgraph ") == text.count("\n  end\n") + text.count("\n    end\n")
    assert "  eni_private_a --> natgw_a\n" in text
    assert "  eni_private_a --> natgw_b\n" not in text
    assert 'subgraph subnet_private_b["private-b 10.0.101.0/24"]' in text


def test_zones() -> None:
    """Where subnets have boxes, an availability zone stands behind a subnet's range."""
    drawing = draw(shipped("endpoint_two_zones"))
    assert all('"private-b 10.0.2.0/24, zone b"' in text for text in (to_mermaid(drawing), to_dot(drawing)))


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


def test_graph_command(run: Run) -> None:
    """A file is drawn without root, and `--scale` divides its limits."""
    status, out, err = run("graph", TWO_SUBNETS, "--scale", "100")
    assert (status, err) == (0, "")
    assert "limit 650" in out


def test_graph_into_a_file(run: Run, tmp_path: Path) -> None:
    """`-o` writes the same into a file, and says nothing."""
    path = tmp_path / "drawing.svg"
    assert run("graph", TWO_SUBNETS, "--format", "svg", "-o", str(path)) == (0, "", "")
    assert path.read_text(encoding="utf-8") == to_svg(draw(shipped("two_subnets")))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((TWO_SUBNETS, "--format", "pdf"), "mermaid"),
        (("nowhere.yaml",), "cannot be read"),
        ((TWO_SUBNETS, "--lab", "small"), "either a file or a lab"),
        ((TWO_SUBNETS, "-o", "/proc/nowhere/drawing.svg"), "cannot be written"),
        (("--scale", "10"), "--scale divides the limits of a file"),
        ((TWO_SUBNETS, "--scale", "0"), "--scale 0"),
    ],
)
def test_graph_of_nothing(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    """What cannot be drawn or written is told in a sentence, with status 2."""
    status, out, err = run("graph", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_help_of_graph(run: Run) -> None:
    """It shows the command in use."""
    status, out, _ = run("graph", "--help")
    assert status == 0
    assert "lab graph topologies/two_subnets.yaml" in out
