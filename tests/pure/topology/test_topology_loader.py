"""From a file to a topology, or to a list of faults; never to anything else."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
import pytest

from lab.errors import TopologyError
from lab.topology import Topology, load, load_text
from tests.support.examples import examples

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
TWO_SUBNETS = (TOPOLOGIES / "two_subnets.yaml").read_text(encoding="utf-8")

SMALLEST = """
version: 1
name: smallest
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {name: public, cidr: 10.0.0.0/24}
    - {name: private, cidr: 10.0.1.0/24, default_route: natgw}
  nat_gateways:
    - {name: natgw, subnet: public}
functions:
  - {name: checkout, subnets: [private]}
servers:
  - {name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}
"""


def faults(text: str) -> list[str]:
    """The lines that a faulty text earns."""
    with pytest.raises(TopologyError) as refusal:
        load_text(text, "t.yaml")
    return str(refusal.value).splitlines()


def test_defaults() -> None:
    """What a file leaves out is as on AWS."""
    topology = load_text(SMALLEST)
    (gateway,) = topology.nat_gateways
    assert topology.service_vpc.cidr == IPv4Network("100.64.0.0/10")
    assert topology.service_vpc.resolver.ttl_s == 60
    assert topology.hyperplane_eni.connection_limit == 65_000
    assert topology.functions[0].security_groups == ("default",)
    assert (gateway.elastic_ips, gateway.connections_per_destination, gateway.spill_over) == (1, 55_000, True)
    assert (gateway.idle_timeout_s, gateway.half_open_timeout_s, gateway.port_hold_s) == (350, 120, 0)
    assert gateway.eip_selection == "round_robin"


def test_types() -> None:
    """Addresses and ranges are values, not text."""
    topology = load_text(SMALLEST)
    assert topology.servers[0].address == IPv4Address("203.0.113.10")
    assert topology.subnets[1].cidr == IPv4Network("10.0.1.0/24")
    assert topology.subnets[0].default_route is None


def test_frozen() -> None:
    """A topology never changes, and can be the key of a mapping."""
    topology = load_text(SMALLEST)
    with pytest.raises(ValidationError):
        topology.name = "other"  # type: ignore[misc]
    assert {topology: 1}[load_text(SMALLEST)] == 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("350s", 350), ("5m", 300), ("1h", 3600), ("350", 350), ("1_000", 1000), ("432000", 432_000)],
)
def test_durations(written: str, seconds: int) -> None:
    """A duration is whole seconds, minutes or hours, or a bare number of seconds."""
    topology = load_text(f"{SMALLEST}\nhyperplane_eni: {{idle_timeout: {written}}}")
    assert topology.hyperplane_eni.idle_timeout_s == seconds


@pytest.mark.parametrize("written", ["off", "false", '"off"'])
def test_scaling_is_off_in_either_yaml(written: str) -> None:
    """`off` is a word in YAML 1.2 and false in YAML 1.1; both mean the default."""
    topology = load_text(f"{SMALLEST}\nhyperplane_eni: {{eni_scaling: {written}}}")
    assert topology == load_text(SMALLEST)
    assert topology.hyperplane_eni.most_enis == 1


def test_scaling_survives_json() -> None:
    """What a lab remembers of its topology tells growth from none."""
    for written in ("off", "{after: 1m}", "{after: 5, most: 8}"):
        topology = load_text(f"{SMALLEST}\nhyperplane_eni: {{eni_scaling: {written}}}")
        assert Topology.model_validate_json(topology.model_dump_json(by_alias=True), by_alias=True) == topology


def test_scaling_without_a_word() -> None:
    """A key without a value is no decision."""
    (fault,) = faults(f"{SMALLEST}\nhyperplane_eni: {{eni_scaling: }}")
    assert "nothing is neither off nor a mapping" in fault


def test_python_names_are_not_yaml_names() -> None:
    """A file says `idle_timeout`; Python's `idle_timeout_s` is an unknown key there."""
    (fault,) = faults(f"{SMALLEST}\nhyperplane_eni: {{idle_timeout_s: 5}}")
    assert "unknown key (did you mean 'idle_timeout'?)" in fault


def test_hostnames_are_lower_case() -> None:
    """DNS does not tell Cache from cache, and neither does a topology."""
    assert load_text(SMALLEST.replace("cache.ex", "Cache.Ex")).servers[0].hostname == "cache.example.com"


def test_aliases() -> None:
    """Anchors and aliases work, even an anchor that is named twice."""
    text = SMALLEST.replace("cidr: 10.0.0.0/16", "cidr: &a 10.0.0.0/16").replace("subnet: public", "subnet: &a public")
    shared = text.replace("name: public", "name: &p public").replace("&a public", "*p")
    assert load_text(text) == load_text(shared) == load_text(SMALLEST)


def test_a_faulty_item_is_still_known_by_name() -> None:
    """A subnet with a faulty range is one fault; the functions in it add none."""
    (fault,) = faults(SMALLEST.replace("10.0.1.0/24", "10.0.1.0/99"))
    assert "vpc.subnets[1].cidr" in fault


def test_the_only_vpc_may_have_a_name() -> None:
    """An attachment names it as the file does, under `vpc` as under `vpcs`."""
    text = """version: 1
name: named
vpc:
  name: orders
  cidr: 10.1.0.0/16
  subnets: [{name: a, cidr: 10.1.1.0/24, default_route: tgw}]
transit_gateways: [{name: tgw, attachments: [{vpc: orders, subnet: a}]}]
functions: [{name: checkout, subnets: [a]}]
servers: [{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}]
"""
    assert load_text(text, "t.yaml").vpcs[0].name == "orders"


def test_a_misspelt_route_is_one_fault() -> None:
    """A subnet whose route is misspelt is not said to have none."""
    (fault,) = faults(SMALLEST.replace("default_route", "default_rout"))
    assert "did you mean 'default_route'" in fault


def test_a_faulty_range_is_not_compared() -> None:
    """A service VPC with a faulty range is one fault, wherever the VPC is."""
    (fault,) = faults(f"{SMALLEST}\nservice_vpc: {{cidr: 10.0.0.0}}")
    assert "no prefix length" in fault


def test_default_service_vpc_is_compared() -> None:
    """A VPC cannot lie in the service VPC's default range, whether or not the file speaks of it."""
    inside = SMALLEST.replace("10.0.", "100.64.")
    assert "overlaps the service VPC's" in faults(inside)[0]
    assert faults(inside) == faults(f"{inside}\nservice_vpc: {{resolver: {{ttl: 5s}}}}")


def test_most_pairs_that_fit() -> None:
    """A /15 has room for eight pairs of function and ENI, and not for nine."""
    more = "".join(f"\n  - {{name: f{n}, subnets: [private]}}" for n in range(8))
    text = f"{SMALLEST}\nservice_vpc: {{cidr: 100.64.0.0/15}}"
    (fault,) = faults(text.replace("[private]}", f"[private]}}{more}"))
    assert "9 pairs of function and ENI need 139,264; choose a /14 or larger" in fault
    load_text(text.replace("[private]}", f"[private]}}{more[: more.rindex(chr(10))]}"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.yaml", "No such file or directory"),
        (".", "Is a directory"),
        ("a\0b", "null byte"),
        ("/dev/zero", "not a regular file"),
        ("fifo", "not a regular file"),
    ],
)
def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str) -> None:
    """A file that cannot be read, or may have no end, is a fault like any other, under the name that the user gave."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(TopologyError) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"{repr(path)[1:-1]}:1:1: file: cannot be read: ")
    assert reason in str(refusal.value)


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    """YAML's parser would work on it for minutes."""
    path = tmp_path / "huge.yaml"
    path.write_text("- a\n" * 66_000, encoding="ascii")
    with pytest.raises(TopologyError, match="more than 262,144 bytes"):
        load(path)


def test_the_name_is_as_given() -> None:
    """Errors call the file what the caller called it."""
    with pytest.raises(TopologyError, match=r"^some/where\.yaml:1:1: "):
        load_text("", "some/where.yaml")


def test_deep_nesting() -> None:
    """Brackets beyond all reason exhaust nobody's stack."""
    assert "syntax: " in faults("[" * 1000)[0]
    assert "syntax: " in faults("[" * 100 + "]" * 100)[0]


def test_brackets_without_end() -> None:
    """They are refused where they become too deep, and the rest is not read."""
    assert faults("{" * 200_000)[0].startswith("t.yaml:1:42: syntax: it is nested too deeply")


# ── Properties ──────────────────────────────────────────────────────────────────────────────────

yaml_text = st.text(alphabet=st.sampled_from("abz01 .:-_#&*!|>%@`'\"?,[]{}<=~\n\t/\\\0\x85é"), max_size=80)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(yaml_text | st.text())
@example("\r\t")
@examples(300)
def test_any_text(text: str) -> None:
    """Whatever the text, it is refused with TopologyError."""
    assert faults(text)


@given(st.integers(0, len(TWO_SUBNETS)), st.integers(0, 30), yaml_text)
@examples(100)
def test_any_edit(start: int, length: int, text: str) -> None:
    """A good file with a piece replaced by nonsense is a topology or a TopologyError."""
    with suppress(TopologyError):
        load_text(TWO_SUBNETS[:start] + text + TWO_SUBNETS[start + length :])


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every part of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, part in inner for place in places(part, (*path, step)))]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A copy of the value with another part at a path."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


WHOLE = load_text(TWO_SUBNETS).model_dump(mode="json")


@given(st.sampled_from(places(WHOLE)), values)
@examples(100)
def test_any_value_anywhere(path: tuple[str | int, ...], new: Any) -> None:
    """Any part may be any value: the result is a topology or a TopologyError, and the same each time."""
    text = json.dumps(replaced(WHOLE, path, new))
    with suppress(TopologyError):
        assert load_text(text) == load_text(text)


names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
seconds = st.integers(1, 432_000)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """A valid topology: public subnet, private subnets, NAT gateways, functions, servers."""
    private = draw(st.lists(names.map("p-{}".format), min_size=1, max_size=5, unique=True))
    gateways = draw(st.lists(names.map("nat-{}".format), min_size=1, max_size=3, unique=True))
    functions = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    servers = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    timeouts = {
        "idle_timeout": draw(seconds),
        "half_open_timeout": draw(seconds),
        "port_hold": draw(st.integers(0, 60)),
    }
    return Topology.model_validate(
        {
            "version": 1,
            "name": draw(names),
            "hyperplane_eni": {"connection_limit": draw(st.integers(1, 65_000)), **timeouts},
            "vpc": {
                "cidr": "10.0.0.0/16",
                "subnets": [
                    {"name": "public", "cidr": "10.0.255.0/24"},
                    *(
                        {
                            "name": name,
                            "cidr": f"10.0.{n}.0/24",
                            "default_route": draw(st.sampled_from(gateways)),
                        }
                        for n, name in enumerate(private)
                    ),
                ],
                "nat_gateways": [
                    {
                        "name": name,
                        "subnet": "public",
                        "elastic_ips": draw(st.integers(1, 8)),
                        "spill_over": draw(st.booleans()),
                        "eip_selection": draw(st.sampled_from(["round_robin", "hash"])),
                        **timeouts,
                    }
                    for name in gateways
                ],
            },
            "functions": [
                {"name": name, "subnets": draw(st.lists(st.sampled_from(private), min_size=1, unique=True))}
                for name in functions
            ],
            "servers": [
                {"name": name, "hostname": f"{name}.example.com", "address": f"203.0.113.{n}", "port": 443}
                for n, name in enumerate(servers, 1)
            ],
        }
    )


@given(topologies())
def test_round_trip(topology: Topology) -> None:
    """A topology that is written down, as JSON is YAML, is read back as the same topology."""
    assert load_text(topology.model_dump_json()) == topology


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(20, 28)), min_size=1, max_size=12))
def test_each_range_within_another_is_told_once(drawn: list[tuple[int, int]]) -> None:
    """As comparing all pairs finds it, but in sorted order: 6,000 subnets would be 18 million pairs."""
    ranges = [IPv4Network((int(IPv4Address("10.0.0.0")) + 16 * block, prefix), strict=False) for block, prefix in drawn]
    subnets = "".join(f"    - {{name: s{place}, cidr: {cidr}}}\n" for place, cidr in enumerate(ranges))
    with pytest.raises(TopologyError) as refusal:
        load_text(f"version: 1\nname: t\nvpc:\n  cidr: 10.0.0.0/16\n  subnets:\n{subnets}functions: []\nservers: []\n")
    within = sum(
        any(
            cidr.subnet_of(other) and (cidr != other or before < place)
            for before, other in enumerate(ranges)
            if before != place
        )
        for place, cidr in enumerate(ranges)
    )
    assert str(refusal.value).count("subnets share no addresses") == within
