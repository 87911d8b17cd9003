"""Two runs compared: what differs, in which direction, and in which words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
import json
from pathlib import Path

import pytest

from lab import runs
from lab.burst.load import Load, Ramp
from lab.runs.compare import TIMING_VARIES, Difference, compare
from tests.support.cli import Run as Lab
from tests.support.runs import ENVIRONMENT, ran

ARTICLE = (
    ran("one_subnet", 55_000, 15_000),
    ran("one_subnet_two_eips", 65_000, 5_000, bottleneck="hyperplane_eni"),
    ran("two_subnets", 70_000, 0, bottleneck=None),
)
"""The article's investigation."""


def told(differences: Iterable[Difference]) -> dict[str, tuple[object, object, object]]:
    """By what they are of."""
    return {each.what: (each.before, each.after, each.change) for each in differences}


def test_article() -> None:
    """Each step of the article: what was changed, where the bottleneck went, and how much it brought."""
    one, two, three = ARTICLE
    found = compare(one, two)
    assert found.headline == "10,000 more established: the bottleneck moved from nat_gateway to hyperplane_eni"
    assert told(found.topology) == {
        "Elastic IPs": (1, 2, 1),
        "vpc.nat_gateways[natgw].elastic_ips": (1, 2, 1),
    }
    assert (found.load, found.environment) == ((), ())
    result = told(found.result)
    assert result["established"] == (55_000, 65_000, 10_000)
    assert result["timed out"] == (15_000, 5_000, -10_000)
    assert result["drop threshold"] == (55_000, 65_000, 10_000)
    assert result["bottleneck"] == ("nat_gateway", "hyperplane_eni", None)
    assert result["ErrorPortAllocation"] == (30_000, 0, -30_000)
    assert result["refused by Hyperplane ENIs"] == (0, 5_000, 5_000)
    assert result["SYN retransmissions"] == (15_000, 5_000, -10_000)
    assert "reset" not in result

    further = compare(two, three)
    assert further.headline == "5,000 more established: the bottleneck was hyperplane_eni, now no limit binds"
    changes = told(further.topology)
    assert changes["Hyperplane ENIs"] == (1, 2, 1)
    assert changes["Elastic IPs"] == (2, 3, 1)
    assert any(path.startswith("vpc.subnets[") and before is None for path, (before, *_) in changes.items())
    assert told(further.result)["drop threshold"] == (65_000, None, None)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (ran(), ran(), "as many established, 30: the bottleneck is nat_gateway in both"),
        (
            ran(),
            ran(established=30, timed_out=20),
            "as many established, 30, with 10 more offered: the bottleneck is nat_gateway in both",
        ),
        (
            ran(established=30),
            ran(established=20, timed_out=0, bottleneck=None),
            "10 fewer established, with 20 fewer offered: the bottleneck was nat_gateway, now no limit binds",
        ),
        (
            ran(established=20, timed_out=0, bottleneck=None),
            ran(established=30),
            "10 more established, with 20 more offered: no limit was binding, now the bottleneck is nat_gateway",
        ),
        (
            ran(established=1, timed_out=0, bottleneck=None),
            ran(established=1, timed_out=0, bottleneck=None),
            "as many established, 1: no limit binds in either",
        ),
    ],
)
def test_headline(before: runs.Run, after: runs.Run, text: str) -> None:
    """What matters most is one sentence."""
    assert compare(before, after).headline == text


def test_same() -> None:
    """A run and itself differ in nothing, and its counts are there all the same."""
    run = ARTICLE[0]
    found = compare(run, run)
    assert (found.topology, found.load, found.environment) == ((), (), ())
    assert {each.change for each in found.result} == {0, None}
    assert told(found.result)["offered"] == (70_000, 70_000, 0)


def test_topology_in_words_of_the_file() -> None:
    """Knobs, lists and whole entries, by the path in the file; what one list has more does not shift the others."""
    before = ran()
    text = before.topology_text
    for written, instead in (
        ("connection_limit: 20", "connection_limit: 30\n  eni_scaling: {after: 5s, most: 2}"),
        ("subnets: [private-a, private-b]", "subnets: [private-b]"),
        ("  subnets:\n", "  subnets:\n    - {name: first, cidr: 10.0.9.0/24}\n"),
    ):
        text = text.replace(written, instead)
    found = told(compare(before, ran(text=text)).topology)
    assert found == {
        "Hyperplane ENIs": (2, 1, -1),
        "hyperplane_eni.connection_limit": (20, 30, 10),
        "hyperplane_eni.eni_scaling": ("off", "{after: 5, most: 2}", None),
        "vpc.subnets[first]": (None, "{name: first, cidr: 10.0.9.0/24}", None),
        "functions[checkout].subnets": ("[private-a, private-b]", "[private-b]", None),
    }


def test_load_and_machine() -> None:
    """What was asked for by the option's name, and what it ran on."""
    before = ran(load=Load(connections=40, rate_per_s=5.0))
    newer = replace(ENVIRONMENT, kernel="6.18.1", packages=ENVIRONMENT.packages | {"numpy": "3.0.0"})
    after = ran(load=Load(connections=40, ramp=Ramp(0, 10, 4), leave_open=True), environment=newer)
    found = compare(before, after)
    assert told(found.load) == {
        "--rate": (5.0, None, None),
        "--ramp": (None, "0:10:4", None),
        "--leave-open": (False, True, None),
    }
    assert told(found.environment) == {"numpy": ("2.1.0", "3.0.0", None), "kernel": ("6.1.0-18-amd64", "6.18.1", None)}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The article's first two steps."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for minute, run in enumerate(ARTICLE[:2]):
        runs.save(replace(run, id=f"20261122-09{minute:02}00-{run.result.lab}"))
    return tmp_path


def test_a_small_number(run: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate below one a second is told as it was asked for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for minute, rate_per_s in enumerate((0.14, 25.0)):
        made = ran(load=Load(connections=40, rate_per_s=rate_per_s))
        runs.save(replace(made, id=f"20261122-09{minute:02}00-tiny"))
    assert "  --rate: 0.14 → 25.0" in run("compare", "last~1", "last").stdout


@pytest.mark.usefixtures("recorded")
def test_command(run: Lab) -> None:
    """For a person: the sentence first, arrows, and that timing varies; the second run is the last unless named."""
    status, out, err = run("compare", "last~1")
    lines = [line.rstrip() for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert lines[0] == "10,000 more established: the bottleneck moved from nat_gateway to hyperplane_eni"
    assert "  vpc.nat_gateways[natgw].elastic_ips: 1 → 2  (↑ 1)" in lines
    assert "load: the same in both" in lines
    rows = [line.split() for line in lines]
    assert ["established", "55,000", "65,000", "↑", "10,000"] in rows
    assert ["ErrorPortAllocation", "30,000", "0", "↓", "30,000"] in rows
    assert ["offered", "70,000", "70,000", "="] in rows
    assert ["bottleneck", "nat_gateway", "hyperplane_eni", "changed"] in rows
    assert lines[-1] == TIMING_VARIES


@pytest.mark.usefixtures("recorded")
def test_command_json(run: Lab) -> None:
    """For a program: the same."""
    document = json.loads(run("compare", "20261122-090000", "last", "--json").stdout)
    assert document["before"] == "20261122-090000-one-subnet"
    assert document["headline"].startswith("10,000 more established")
    changed = {"what": "vpc.nat_gateways[natgw].elastic_ips", "before": 1, "after": 2, "change": 1}
    assert changed in document["topology"]
    assert document["note"] == TIMING_VARIES


def test_command_refuses(run: Lab, recorded: Path) -> None:
    """A run that is not there, or damaged, is a sentence and status 2."""
    status, _, err = run("compare", "nothing")
    assert (status, err.startswith("no run 'nothing' in "), err.count("\n")) == (2, True, 1)
    (recorded / "lab" / "runs" / "20261122-090000-one-subnet" / "result.json").write_text("{")
    status, _, err = run("compare", "last~1")
    assert status == 2
    assert err.startswith("run 20261122-090000-one-subnet is damaged: result.json: is not JSON: line 1: ")
