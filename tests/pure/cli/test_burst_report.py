"""What `lab burst` prints for a person: of a burst, of flows, of two loads side by side, in a pipe and elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.cli import show as showing
from lab.cli.burst_report import show, show_side_by_side
from lab.diagnosis.verdict import judge
from lab.slots.fill import Fill, HalfOpen
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen, with_tcp
from traffic.result import DnsCount, InvocationCount, Latency, Percentiles, RequestCount

NAT = eips(3)
FULL = (reading(ENI_A, 65_000, 20_000, 5_000), reading(ENI_B, 65_000, 20_000, 5_000))
BURST = burst_result(
    seen(130_000, 10_000, retransmissions=30_000),
    *FULL,
    *(reading(each, held) for each, held in zip(NAT, (43_334, 43_333, 43_333), strict=True)),
    first=FULL[0],
)
REUSED = burst_result(
    replace(
        seen(1_000),
        offered=140_000,
        invocations=InvocationCount(140_000, 140_000, 0, 139_000),
        requests=RequestCount(140_000, 140_000),
    ),
    reading(ENI_A, 500),
    reading(ENI_B, 500),
    *(reading(each, held) for each, held in zip(NAT, (334, 333, 333), strict=True)),
    load=Load(connections=140_000, reuse=True),
)

Printed = Callable[[Callable[[], None]], list[str]]


@pytest.fixture
def pipe(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a function prints into a pipe, line by line."""

    def printed(report: Callable[[], None]) -> list[str]:
        showing._console.cache_clear()  # noqa: SLF001 -- it remembers a stream that pytest has replaced
        report()
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return printed


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], int], list[str]]:
    """What a function prints on a terminal of so many columns."""

    def printed(report: Callable[[], None], width: int) -> list[str]:
        consoles = {
            stderr: Console(file=StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
            for stderr in (False, True)
        }
        monkeypatch.setattr(showing, "_console", lambda *, stderr: consoles[stderr])
        report()
        file = consoles[False].file
        assert isinstance(file, StringIO)
        return file.getvalue().splitlines()

    return printed


def _row(lines: list[str], name: str) -> list[str]:
    (found,) = (line for line in lines if line.startswith(name + "  "))
    return found.removeprefix(name).split()


# ── A burst ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_burst(pipe: Printed) -> None:
    """The tables have the clients' counts, each limiter's, and the prediction beside the observation."""
    lines = pipe(lambda: show(BURST))
    assert lines[0] == "140,000 invocations in lab t, 3.0 s"
    assert _row(lines, "DNS") == ["140,000", "140,000", "0"]
    assert _row(lines, "connections") == ["140,000", "130,000", "10,000", "0", "0"]
    assert _row(lines, "eni-private-a") == ["65,000", "65,000", "5,000", "20,000"]
    assert _row(lines, "natgw 198.51.100.2") == ["55,000", "43,333", "0", "0"]
    assert _row(lines, "predicted") == ["140,000", "-", "-"]
    assert _row(lines, "observed") == ["130,000", "130,000", "hyperplane_eni"]
    assert "60,000 invocations/s while connecting (1.0 s)" in lines
    assert "latency, half of them within, 99 % within: connect 0.3 ms, 2.0 ms" in lines
    assert "30,000 SYN retransmissions; 0 connections were established by one" in lines


def test_slots_told_apart(pipe: Printed) -> None:
    """Where not all that held a slot was established, each limiter's slots are told apart."""
    full = replace(FULL[0], fill=Fill(60_000, (HalfOpen("cache", 4_000, 1, 119, 120),), closing=1_000))
    lines = pipe(lambda: show(burst_result(seen(60_000, 5_000), full, replace(FULL[1], fill=Fill(65_000)), first=full)))
    assert _row(lines, "eni-private-a") == ["65,000", "65,000", "60,000", "4,000", "1,000", "5,000", "20,000"]
    assert _row(lines, "eni-private-b") == ["65,000", "65,000", "65,000", "0", "0", "5,000", "20,000"]


def test_the_verdict_follows(pipe: Printed) -> None:
    """After the numbers come the verdict, its reasons and what helps, a line each in a pipe."""
    lines = pipe(lambda: show(BURST))
    at = lines.index(judge(BURST).headline)
    helps = lines.index("What helps:")
    assert at < helps
    assert all(line.startswith("  - ") for line in lines[helps + 1 :])
    assert len(lines[helps + 1 :]) >= 4


def test_nothing_that_did_not_happen(pipe: Printed) -> None:
    """A burst without requests, reuse or retransmissions has no rows and sentences about them."""
    text = "\n".join(pipe(lambda: show(burst_result(seen(10), reading(ENI_A, 10), reading(NAT[0], 10)))))
    assert not [word for word in ("requests", "retransmissions", "found a connection", "What helps") if word in text]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"requests": RequestCount(20, 18)}, "requests 20 18 2"),
        ({"requests": RequestCount(20, 18), "invocations": InvocationCount(10, 9, 1, 0)}, "invocations 10 9 1"),
        ({"invocations": InvocationCount(10, 10, 0, 4)}, "4 invocations found a connection open, 10 made one"),
        (
            {"invocations": InvocationCount(10, 10, 0, 0, 7)},
            (
                "up to 7 invocations had come and found no port free, and came late: "
                "an ENI has 65,000 ports; --scale 2 leaves some over"
            ),
        ),
        (
            {"latency": Latency(*(Percentiles(10, each, 2.0, 3.0, 4.0, 5.0) for each in (0.1, 0.2, 0.3)))},
            (
                "latency, half of them within, 99 % within: DNS 0.1 ms, 3.0 ms; connect 0.2 ms, 3.0 ms; "
                "request 0.3 ms, 3.0 ms"
            ),
        ),
    ],
)
def test_what_happened(pipe: Printed, changes: dict[str, Any], wanted: str) -> None:
    """What did happen has its row or sentence."""
    clients = replace(seen(10), **changes)
    lines = pipe(lambda: show(burst_result(clients, reading(ENI_A, 10), reading(NAT[0], 10))))
    assert wanted in [" ".join(line.split()) for line in lines]


def test_late_connections(pipe: Printed) -> None:
    """Connections that a retransmission established are counted apart."""
    clients = with_tcp(seen(10, retransmissions=3), established_at_syn=(8, 1, 1))
    lines = pipe(lambda: show(burst_result(clients, reading(ENI_A, 10, 3, 2), reading(NAT[0], 10))))
    assert "3 SYN retransmissions; 2 connections were established by one" in lines


def test_syns_alone(pipe: Printed) -> None:
    """Nobody asked, so there is no row of DNS; what succeeded is called half-open."""
    clients = with_tcp(seen(10), established=0, half_open=10, open=0, established_at_syn=())
    clients = replace(clients, dns=DnsCount(0, 0, 0), latency=Latency(None, None, None))
    lines = pipe(lambda: show(burst_result(clients, reading(ENI_A, 10), reading(NAT[0], 10))))
    assert not [line for line in lines if line.startswith("DNS")]
    assert "half-open" in next(line for line in lines if "offered" in line)
    assert _row(lines, "connections") == ["10", "10", "0", "0", "0"]


def test_one_invocation(pipe: Printed) -> None:
    """One is not several."""
    assert pipe(lambda: show(burst_result(seen(1), reading(ENI_A, 1))))[0] == "1 invocation in lab t, 3.0 s"


def test_flows(pipe: Printed) -> None:
    """Over UDP there are flows and datagrams, and no word of SYNs."""
    load = Load(connections=10, protocol="udp")
    lines = pipe(lambda: show(burst_result(seen(10), reading(ENI_A, 10), reading(NAT[0], 10), load=load)))
    assert _row(lines, "UDP flows") == ["10", "10", "0", "0", "0"]
    assert "dropped datagrams" in "\n".join(lines)
    assert "SYN" not in "\n".join(lines)


def test_faults_are_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    """What has ended and where the accounts differ go to standard error, one line each."""
    showing._console.cache_clear()  # noqa: SLF001 -- it remembers a stream that pytest has replaced
    show(burst_result(seen(10, lost=3), reading(ENI_A, 10), reading(NAT[0], 10), incidents=("the resolver has ended",)))
    assert capsys.readouterr().err.splitlines() == [
        "the resolver has ended",
        "the two accounts differ: the generator's own ring lost 3 frames",
    ]


# ── Side by side ────────────────────────────────────────────────────────────────────────────────────────────


def test_side_by_side(pipe: Printed) -> None:
    """Each number of the load without reuse stands beside that of the load with it, and each has its verdict."""
    lines = pipe(lambda: show_side_by_side(BURST, REUSED))
    assert lines[0] == "140,000 invocations in lab t, twice"
    assert lines[2].strip() == "a connection each  connections reused"
    table = {
        "invocations": ["140,000", "140,000"],
        "served": ["130,000", "140,000"],
        "failed": ["10,000", "0"],
        "connections made": ["140,000", "1,000"],
        "connections used again": ["0", "139,000"],
        "connections that timed out": ["10,000", "0"],
        "most at a time in an ENI": ["65,000", "500"],
        "most at a time in an Elastic IP": ["43,334", "334"],
        "drop threshold": ["130,000", "-"],
        "bottleneck": ["hyperplane_eni", "-"],
    }
    assert {name: _row(lines, name) for name in table} == table
    (without,) = (line for line in lines if line.startswith("A connection for each invocation: "))
    (reused,) = (line for line in lines if line.startswith("Connections reused: "))
    assert without.endswith(judge(BURST).headline)
    assert reused.endswith(judge(REUSED).headline)


# ── Widths ──────────────────────────────────────────────────────────────────────────────────────────────────

_REPORTS = {
    "a burst": lambda: show(BURST),
    "reuse": lambda: show(REUSED),
    "flows": lambda: show(_flows()),
    "side by side": lambda: show_side_by_side(BURST, REUSED),
}


def _flows() -> BurstResult:
    return burst_result(seen(10), reading(ENI_A, 10), reading(NAT[0], 10), load=Load(connections=10, protocol="udp"))


def _numbers(lines: list[str]) -> list[str]:
    return [word for word in " ".join(lines).split() if word[0].isdigit()]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("report", _REPORTS.values(), ids=_REPORTS)
def test_a_terminal(
    terminal: Callable[[Callable[[], None], int], list[str]], pipe: Printed, report: Callable[[], None], width: int
) -> None:
    """No line is longer than the terminal, and nothing is cut: each number of the pipe's is there."""
    whole = pipe(report)
    lines = terminal(report, width)
    assert max(map(len, lines)) <= width
    assert _numbers(lines) == _numbers(whole)
    assert "…" not in "".join(lines)


def test_a_table_wider_than_the_terminal(terminal: Callable[[Callable[[], None], int], list[str]]) -> None:
    """Columns without room follow below, with the names of the rows again."""
    rows = (("natgw 198.51.100.1", 55_000, 43_334, 1_000), ("natgw 198.51.100.2", 55_000, 43_333, 2_000))
    lines = terminal(lambda: showing.table(("limiter", "#limit", "#half-open", "#SYNs refused"), rows), 42)
    assert [line.split() for line in lines] == [
        ["limiter", "limit", "half-open"],
        ["natgw", "198.51.100.1", "55,000", "43,334"],
        ["natgw", "198.51.100.2", "55,000", "43,333"],
        [],
        ["limiter", "SYNs", "refused"],
        ["natgw", "198.51.100.1", "1,000"],
        ["natgw", "198.51.100.2", "2,000"],
    ]


def test_a_sentence_behind_numbers(terminal: Callable[[Callable[[], None], int], list[str]]) -> None:
    """A terminal that is too narrow for it breaks it between words."""
    rows = [("tiny", 9, "half built: lab down takes it away")]
    lines = terminal(lambda: showing.table(("lab", "#nodes", "state"), rows), 30)
    assert " ".join(word for line in lines[1:] for word in line.split()) == "tiny 9 half built: lab down takes it away"
    assert max(map(len, lines)) <= 30


@pytest.mark.parametrize("report", _REPORTS.values(), ids=_REPORTS)
def test_a_pipe(pipe: Printed, report: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe goes the same whatever the terminal: sentences whole, tables within 120 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    narrow = pipe(report)
    monkeypatch.setenv("COLUMNS", "200")
    assert pipe(report) == narrow
    assert "…" not in "".join(narrow)
    assert all(len(line) <= 120 or "  " not in line for line in narrow)
