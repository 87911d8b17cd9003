"""EMFILE in every account of a burst: verdict, tables, comparison; and beside a limit of the network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.burst.lacking import Lacking
from lab.burst.load import Load
from lab.burst.result import BurstResult, EnvironmentDescriptors
from lab.cli import show as showing
from lab.cli.burst_report import show
from lab.diagnosis.verdict import judge
from lab.report.facts import comparison
from lab.report.tables import tables
from lab.runs.compare import compare
from lab.schema.descriptors import DescriptorLimit
from tests.support.bursts import ENI_A, burst_result, reading, seen
from tests.support.runs import ran
from tests.support.tiny_lab import explained, limiters
from tests.support.tiny_lab import reading as tiny_reading
from traffic.result import DnsCount


def lacking(emfile: int, established: int = 2_042, timed_out: int = 0) -> BurstResult:
    """A burst of environments with 1,024 descriptors, in which so many invocations had none."""
    clients = seen(established, timed_out, failed=emfile)
    called = established + timed_out
    full = reading(ENI_A, established, timed_out, timed_out)
    result = burst_result(
        replace(clients, dns=DnsCount(called + emfile, called, 0, emfile)), full, first=full if timed_out else None
    )
    return replace(result, descriptors=EnvironmentDescriptors(DescriptorLimit(1024, 3), 1500, called))


def test_verdict() -> None:
    """The cause, what an environment has, what the kernel has seen, and what helps."""
    verdict = judge(lacking(958))
    assert verdict.cause == "too_many_open_files"
    assert verdict.headline == "Too many open files: 958 of 3,000 invocations failed with EMFILE, before any packet"
    assert verdict.explanation[0].endswith("1,021 connections, of the 1,500 that it makes.")
    assert verdict.explanation[1].startswith("2,042 connections came to the first node on the way")
    assert verdict.explanation[-1] == "No limit refused any."
    assert any("1,021 connections at most" in remedy for remedy in verdict.remedies)


@pytest.mark.parametrize(("emfile", "timed_out", "cause"), [(20, 10, "too_many_open_files"), (10, 20, "limit")])
def test_beside_a_limit(emfile: int, timed_out: int, cause: str) -> None:
    """What most invocations failed by is the headline; the other is told with its number and its remedy."""
    verdict = judge(lacking(emfile, timed_out=timed_out))
    told = " ".join((*verdict.explanation, *verdict.remedies))
    assert verdict.cause == cause
    assert ("Limits refused 10 connections as well: eni-private-a." in told) == (cause == "too_many_open_files")
    assert ("10 invocations failed with EMFILE" in told, "Against EMFILE" in told) == (cause == "limit",) * 2


@pytest.mark.parametrize(
    ("failed", "refused_since", "cause"),
    [(10, 0, "too_many_open_files"), (30, 0, "limit"), (10, 1, "limit")],
    ids=["most lacked one", "most were refused", "a limit has refused since"],
)
def test_of_the_last_burst(failed: int, refused_since: int, cause: str) -> None:
    """`lab why` finds what the burst's verdict found, until a limit refuses again."""
    full = tiny_reading(limiters("eni-private-a")[0], 20, 4)
    last = Lacking(100, 20, failed, DescriptorLimit(43, 3), full.refused_packets - refused_since, "/run/emfile.json")
    found = explained(full, lacking=last)
    assert found.cause == cause
    assert any("20 of 100 invocations of the last burst failed with EMFILE: each" in text for text in found.details)


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """A column of the outcomes, a row of a comparison and of runs side by side, where any burst has some."""
    showing._console.cache_clear()  # noqa: SLF001 -- it remembers a stream that pytest has replaced
    show(lacking(958))
    outcomes = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [row[-1] for row in outcomes] == ["EMFILE", "958", "0"]
    some, none = ran(result=lacking(958), load=Load(3000)), ran(result=lacking(0), load=Load(2042))
    found = {each.what: (each.before, each.after) for each in compare(some, none).result}
    assert found["EMFILE"] == (958, 0)
    (outcomes_table,) = (table for table in tables(some) if table.title == "Outcomes")
    assert (outcomes_table.columns[-1], outcomes_table.rows[0][-1].text) == ("#EMFILE", "958")
    assert [[cell.text for cell in row] for row in comparison([some, none]) if row[0].text == "EMFILE"] == [
        ["EMFILE", "958", "0"]
    ]
    assert not [row for row in comparison([none, none]) if row[0].text == "EMFILE"]
