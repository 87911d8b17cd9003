"""`lab report`: the page is one file that loads nothing, has every number, and survives any run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
import re
import sys

import pytest

from lab import runs
from lab.burst.load import Load
from lab.burst.result import LimitResult
from lab.diagnosis.verdict import judge
from lab.metrics.numbers import COUNTS
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.report.charts import charts_of, lasts_s
from lab.report.clock import bar_width_s, clock_of
from lab.report.facts import cloudwatch
from lab.report.page import page
from lab.report.tables import tables
from lab.report.themes import DARK, LIGHT, SENTINELS
from lab.runs import Run
from lab.schema.drops import DropCount
from lab.slots.fill import Fill, HalfOpen
from tests.support.bursts import burst_result, seen, with_tcp
from tests.support.cli import Run as Command
from tests.support.runs import ran
from traffic.packet_record import PacketRecord
from traffic.result import Sample as SeriesSample

BEGAN_S = 1_795_340_463.4
RETRANSMITTED_S = (1.0, 3.0)
"""When clients that wait for 4 s send their SYN again."""


def reading(limit: int, offered: int, syns: int, slots: Iterable[str]) -> NodeSample:
    """A node of which so many connections each sent so many SYNs, in turn over its slots, until those were full."""
    admitted = min(limit, offered) if syns else 0
    refused = (offered - admitted) if syns else 0
    held = dict.fromkeys(slots, admitted)
    counters = {
        "connections_admitted": admitted,
        "connections_established": admitted,
        "refused_connections_x": refused,
        "refused_packets_x": refused * syns,
    }
    passed = admitted * 3 + refused * syns
    return NodeSample(
        counters, held, admitted, InterfaceCount(passed, passed * 60, admitted, 0), InterfaceCount(0, 0, 0, 0)
    )


def sampled(run: Run, offered: int = 40, limit: int = 30) -> Run:
    """The same run with samples, five a second for 4 s, a series of every half second, and all limits on the way."""
    slots = {each.node: [one.slots for one in run.limiters if one.node == each.node] for each in run.nodes}
    enis = [each.node for each in run.nodes if each.kind == "hyperplane_eni"]
    of = {each.node: offered // len(enis) if each.node in enis else offered for each in run.nodes}

    def sample(at_s: float) -> Sample:
        syns = 0 if at_s < BEGAN_S else 1 + sum(at_s >= BEGAN_S + again for again in RETRANSMITTED_S)
        return Sample(at_s, {node: reading(limit, of[node], syns, names) for node, names in slots.items()})

    series = tuple(
        SeriesSample(half / 2, offered if half else 0, min(limit, offered) if half else 0, 0, open=0)
        for half in range(9)
    )
    moments = (BEGAN_S - 0.35 + 0.2 * step for step in range(23))
    result = replace(run.result, series=series, limits=tuple(limits(run)))
    return replace(run, samples=tuple(map(sample, moments)), result=result)


def limits(run: Run) -> Iterator[LimitResult]:
    """Those that the result has, and the others as unused."""
    known = {(each.node, each.eip, each.destination): each for each in run.result.limits}
    for each in run.limiters:
        if each.protocol in ("any", run.load.protocol):
            unused = LimitResult(each.node, each.kind, each.limit, 0, 0, 0, each.eip, each.destination)
            limit = known.get((each.node, each.eip, each.destination), unused)
            yield replace(limit, fill=Fill(limit.peak - limit.peak // 3, closing=limit.peak // 3))


@pytest.fixture(scope="module")
def tiny() -> Run:
    """A burst in `tiny` with samples of all nodes."""
    return sampled(ran())


@pytest.fixture(scope="module")
def tiny_page(tiny: Run) -> str:
    """Its report."""
    return page([tiny])


# ── The page as HTML ────────────────────────────────────────────────────────────────────────────────────────

_VOID = {"meta", "link", "wbr", "br", "img", "input", "hr"}
_LOADING = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "ping"}


class Read(HTMLParser):
    """A page as a browser reads it: every element closed, every reference, every id, all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.images: list[str | None] = []
        self.headed: list[bool] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As `<path/>`."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """It stays open unless it is void."""
        self.names.append(tag)
        given = dict(attrs)
        self.references += [value or "" for name, value in attrs if name in _LOADING]
        self.styles += [given["style"] or ""] if "style" in given else []
        self.ids += [given["id"] or ""] if "id" in given else []
        if given.get("role") == "img":
            self.images.append(given.get("aria-label"))
        if tag == "table":
            self.headed.append(False)
        if tag == "th":
            self.headed[-1] = True
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """A style, or words."""
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, with single spaces."""
        return " ".join(" ".join(self.words).split())


def test_one_file(tiny: Run) -> None:
    """A browser finds every element closed, every id once, and nothing to fetch; runs in one lab go by their ids."""
    text = page([tiny, replace(tiny, id="another")])
    found = Read(text)
    assert f"{tiny.id} another Hyperplane ENIs" in found.text
    assert all(each.startswith(("#", "data:")) for each in found.references)
    assert {each[1:] for each in found.references if each.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert not {"script", "iframe", "object", "embed", "img", "foreignobject"} & set(found.names)
    style = " ".join(found.styles)
    assert "@import" not in style
    assert all(each.startswith("#") for each in re.findall(r"url\(\s*['\"]?([^)]*)", style))
    assert set(re.findall(r"https?://[^\"'\s<]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_accessible(tiny_page: str) -> None:
    """Every figure says what it shows, with its numbers; every table has headers; colours are the page's variables."""
    found = Read(tiny_page)
    assert len(found.images) >= 5
    assert all(found.images)
    assert any("eni-private-b: 20 at most; limit: 20." in (each or "") for each in found.images)
    assert all(found.headed)
    assert not any(sentinel in tiny_page for sentinel in SENTINELS.values())
    for name in set(re.findall(r"var\(--([a-z0-9]+)\)", tiny_page)):
        assert name == "runs" or (name in LIGHT and name in DARK)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(palette: dict[str, str]) -> None:
    """Text has a contrast of 4.5 with what is below it, lines have one of 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        light, dark = sorted((luminance(palette[one]), luminance(palette[other])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for paper in ("paper", "raised"):
        for text in ("ink", "faint", "good", "bad", "warn", "link"):
            assert contrast(text, paper) >= 4.5, (text, paper)
    for index in range(1, 9):
        assert contrast(f"s{index}", "paper") >= 3, index


def test_every_number(tiny: Run, tiny_page: str) -> None:
    """Limits, outcomes, prediction, latencies, environment, topology file and commands are on the page."""
    text = Read(tiny_page).text
    for limit in tiny.result.limits:
        assert limit.fill is not None
        states = (limit.fill.established, limit.fill.half_open_slots, limit.fill.closing)
        numbers = (limit.limit, limit.peak, *states, limit.dropped_connections, limit.dropped_packets)
        assert " ".join((limit.node, *filter(None, [limit.eip]), *(f"{each:,}" for each in numbers))) in text
    assert "Connections 40 30 10 0 0" in text
    assert "Bottleneck none NAT gateway" in text
    assert "Connect 0.3 ms 0.8 ms 2.0 ms 4.0 ms 5.0 ms" in text
    assert "6.1.0-18-amd64" in text
    assert "8.0 GiB" in text
    for command in tiny.commands:
        assert command in text
    assert " ".join(tiny.topology_text.split()) in text


def test_side_by_side(tiny: Run, tiny_page: str) -> None:
    """Several runs: a comparison first, and the same axes in figures that stand side by side."""
    larger = replace(sampled(ran("two_subnets", 1300, 100, scale=100, bottleneck="hyperplane_eni"), 1400, 650), id="b")
    text = page([tiny, larger])
    words = Read(text).text
    assert words.startswith("2 runs side by side 2 runs side by side")
    assert "Established 30 1,300 Timed out 10 100" in words
    assert "1,400 invocations at once" in words[: words.index("What the clients see")]
    assert "Bottleneck NAT gateway Hyperplane ENI" in words
    for kind in ("eni", "clients", "nat-gateway"):
        ticks = [_ticks(text, f"run{number}-{kind}") for number in (1, 2)]
        assert ticks[0] == ticks[1]
        assert ticks[0]
    assert _ticks(tiny_page, "run1-eni") != _ticks(text, "run1-eni")


def _ticks(text: str, key: str) -> list[str]:
    """The numbers at a figure's axes."""
    (figure,) = re.findall(rf'<svg[^>]*>(?:(?!</svg>).)*id="{key}-figure_1".*?</svg>', text, re.DOTALL)
    return re.findall(r">([0-9.,]+)</text>", figure)


def test_hostile_texts(tiny: Run) -> None:
    """Whatever stands in a topology file, a command or a record stays text."""
    evil = "</style><script>alert(1)</script>&lt;"
    result = replace(tiny.result, incidents=(evil,), disagreements=(evil,), lab=evil)
    limiters = tuple(replace(each, node=f"{evil}$x_1$", eip=evil) for each in tiny.limiters)
    limits = tuple(replace(each, node=f"{evil}$x_1$") for each in tiny.result.limits)
    run = replace(
        tiny,
        topology_text=f"# {evil}",
        commands=(evil,),
        result=replace(result, limits=limits),
        limiters=limiters,
        samples=tuple(_renamed(each, f"{evil}$x_1$") for each in tiny.samples),
        environment=replace(tiny.environment, kernel=evil, packages={evil: evil}),
    )
    found = Read(page([run, replace(run, id=evil)]))
    assert "script" not in found.names
    assert found.text.count("<script>alert(1)</script>&lt;") > 10


def _renamed(sample: Sample, name: str) -> Sample:
    return replace(sample, nodes={name: next(iter(sample.nodes.values()))})


def test_faults_are_prominent(tiny: Run) -> None:
    """What ended during the run, and where the two accounts differ, stands above the verdict."""
    result = replace(tiny.result, incidents=("the resolver has ended",), disagreements=("clients: 1; kernel: 2",))
    text = Read(page([replace(tiny, result=result)])).text
    headline = text.index(judge(result).headline)
    assert text.index("the resolver has ended") < headline
    assert text.index("clients: 1; kernel: 2") < headline


# ── Any run ─────────────────────────────────────────────────────────────────────────────────────────────────


def _scapy() -> Run:
    run = ran(load=Load(connections=40, engine="scapy"))
    packet = PacketRecord(0.1, "resolver", "eth0", "in", 1, "100.64.0.1:1000", "100.64.0.2:53", "DNS", 60, "asks")
    return replace(run, result=replace(run.result, packets=(packet,)))


def _udp() -> Run:
    return sampled(ran(load=Load(connections=40, protocol="udp")))


def _nobody() -> Run:
    clients = replace(seen(0, 0, failed=5), series=())
    return replace(ran(result=burst_result(clients)), samples=())


def _half_open() -> Run:
    return ran(result=burst_result(with_tcp(seen(0), half_open=7, attempted=7), load=Load(connections=7)))


def _stopped() -> Run:
    stop = DropCount("vpc", "network_acl", "acl-1", "ingress", answers=True, dropped_packets=12, cure="{rule: 10, …}")
    return ran("network_acl", result=burst_result(seen(0, 4), stops=(stop,)))


ANY_RUN = {
    "no samples": lambda: replace(ran(), samples=()),
    "one sample": lambda: replace(sampled(ran()), samples=sampled(ran()).samples[:1]),
    "a node that comes later": lambda: _late(sampled(ran("two_subnets"))),
    "no ENI": lambda: ran("outside_vpc", result=burst_result(seen(40))),
    "many ENIs and Elastic IPs": lambda: sampled(ran("seven_subnets_eight_eips")),
    "ENIs that grow": lambda: sampled(ran("eni_scaling")),
    "a limit for each server": lambda: sampled(ran("per_destination")),
    "two NAT gateways": lambda: sampled(ran("two_zones")),
    "an interface endpoint": lambda: sampled(ran("privatelink", bottleneck="interface_endpoint")),
    "hours": lambda: _stretched(sampled(ran()), 3_000),
    "UDP": _udp,
    "scapy": _scapy,
    "nobody answered": _nobody,
    "half-open": _half_open,
    "stopped": _stopped,
}


def _late(run: Run) -> Run:
    node = run.nodes[0].node
    early = [replace(each, nodes={k: v for k, v in each.nodes.items() if k != node}) for each in run.samples[:9]]
    return replace(run, samples=(*early, *run.samples[9:]))


def _stretched(run: Run, times: int) -> Run:
    series = tuple(replace(each, t_s=each.t_s * times) for each in run.result.series)
    samples = tuple(replace(each, at_s=BEGAN_S + (each.at_s - BEGAN_S) * times) for each in run.samples)
    return replace(run, samples=samples, result=replace(run.result, series=series))


@pytest.mark.parametrize("kind", ANY_RUN)
def test_any_run(kind: str) -> None:
    """No kind of run is without a page, and its axes say 1,000 and not 1e3."""
    run = ANY_RUN[kind]()
    found = Read(page([run]))
    assert "Outcomes" in found.text
    assert not re.search(r"\de[+0-9]", " ".join(found.words[found.words.index("Outcomes") :]).split("topology file")[0])


# ── Time, and what is counted ───────────────────────────────────────────────────────────────────────────────


def test_one_time_for_both_accounts(tiny: Run) -> None:
    """Samples are put where the clients' series has as many connections attempted, between two of its points, too."""
    assert clock_of(tiny).began_s == pytest.approx(BEGAN_S, abs=0.2)
    attempted = {BEGAN_S - 0.1: 0, BEGAN_S + 0.1: 20, BEGAN_S + 0.3: 40}
    nodes = ("eni-private-a", "eni-private-b", "natgw")
    samples = tuple(
        Sample(at_s, {node: reading(100, count if node == "natgw" else count // 2, 1, ()) for node in nodes})
        for at_s, count in attempted.items()
    )
    series = (SeriesSample(0.0, 0, 0, 0), SeriesSample(1.0, 200, 0, 0))
    run = replace(tiny, samples=samples, result=replace(tiny.result, series=series))
    assert clock_of(run).began_s == pytest.approx(BEGAN_S)


def test_bars_stand_where_clients_act(tiny: Run) -> None:
    """SYNs that were refused stand at 0 s, and again at 1 and 3 s as retransmissions; all of them, and no others."""
    (chart,) = (each for each in charts_of(tiny) if each.kind == "syn")
    first, again = chart.panels[0].lines
    assert bar_width_s(tiny) == 1
    assert {t_s: value for t_s, value in first.points if value} == {0: 10}
    assert {t_s: value for t_s, value in again.points if value} == {1: 10, 3: 10}


def test_bars_add_up(tiny: Run) -> None:
    """However samples and bars lie, bars of a metric sum up to what the kernel counted."""
    for times in (1, 7, 400):
        run = _stretched(tiny, times)
        (chart,) = (each for each in charts_of(run) if each.kind == "nat-gateway")
        for line in (*chart.panels[1].lines, *chart.panels[2].lines):
            count, (first, *_, last) = COUNTS[line.name], [each.nodes["natgw"] for each in run.samples]
            assert sum(value for _, value in line.points) == count(last) - count(first)
            assert line.highest > 0
            assert len(line.points) <= 130


def test_a_counter_that_is_short_for_a_moment(tiny: Run) -> None:
    """Counters are read one after the other: no bar is negative, and the sum is right all the same."""
    short = list(tiny.samples)
    nodes = dict(short[4].nodes)
    nodes["natgw"] = replace(nodes["natgw"], counters={**nodes["natgw"].counters, "connections_admitted": 2})
    short[4] = replace(short[4], nodes=nodes)
    (chart,) = (each for each in charts_of(replace(tiny, samples=tuple(short))) if each.kind == "nat-gateway")
    attempts = chart.panels[1].lines[0].points
    assert min(value for _, value in attempts) >= 0
    assert sum(value for _, value in attempts) == 40


def test_charts_of_a_run(tiny: Run) -> None:
    """The ENI's graph has a line for each ENI and its limit; the NAT gateway's has the article's metrics."""
    charts = {each.kind: each for each in charts_of(tiny)}
    assert list(charts) == ["clients", "eni", "nat-gateway", "syn", "eip"]
    enis = charts["eni"].panels[0]
    assert [line.name for line in enis.lines] == ["eni-private-a", "eni-private-b"]
    assert enis.limits == (20,)
    assert [line.highest for line in enis.lines] == [20, 20]
    names = [line.name for panel in charts["nat-gateway"].panels for line in panel.lines]
    assert names == [
        "ActiveConnectionCount",
        "ConnectionAttemptCount",
        "ConnectionEstablishedCount",
        "ErrorPortAllocation",
    ]
    assert lasts_s(charts.values()) == pytest.approx(4.05, abs=0.2)


def test_what_cloudwatch_shows() -> None:
    """An alarm where ports ran out, a healthy NAT gateway where an ENI was full, nothing where there is none."""
    full = sampled(ran())
    assert cloudwatch(full) == ("port allocation errors: an alarm", "warn")
    quiet = replace(full, samples=tuple(replace(each, nodes=_quiet(each)) for each in full.samples))
    assert cloudwatch(quiet) == ("a healthy NAT gateway, while 10 time out", "bad")
    outside = ran("outside_vpc", result=burst_result(seen(40)))
    assert cloudwatch(outside) == ("nothing: no NAT gateway is on the way", "")
    assert [each.kind for each in charts_of(outside)] == ["clients"]


def test_what_would_help_has_thresholds() -> None:
    """What raises the threshold, by how much, what binds then; and what people try in vain."""
    run = ran("one_subnet_two_eips", 65_000, 5_000, bottleneck="hyperplane_eni")
    (table,) = (each for each in tables(run) if each.title == "What would help checkout, connecting to cache")
    rows = {cells[0].text: tuple(each.text for each in cells[1:]) for cells in table.rows}
    both = "a third Elastic IP for natgw and one more private subnet for checkout, with a Hyperplane ENI of its own"
    assert rows[both] == ("65,000", "130,000", "the Hyperplane ENI binds")
    assert rows["a third Elastic IP for natgw"] == ("65,000", "65,000", "the Hyperplane ENI binds")
    outside = "checkout outside the VPC, if it needs nothing there"
    assert rows[outside] == ("65,000", "no limit", "no limit is on the way")
    unlimited = ran("outside_vpc", result=burst_result(seen(40)), load=Load(connections=40, function="outside"))
    assert not any(each.title.startswith("What would help") for each in tables(unlimited))


def test_half_open_slots_and_more_room() -> None:
    """Against a pile-up of half-open connections no subnet is offered, and so there is no table of thresholds."""
    run = ran("one_subnet_two_eips", 65_000, 5_000, bottleneck="hyperplane_eni")
    fill = Fill(60_000, (HalfOpen("cache", 5_000, 1, 119, 120),))
    result = replace(run.result, limits=tuple(replace(limit, fill=fill) for limit in run.result.limits))
    assert not any(each.title.startswith("What would help") for each in tables(replace(run, result=result)))


def _quiet(sample: Sample) -> dict[str, NodeSample]:
    return {name: replace(each, counters={}) for name, each in sample.nodes.items()}


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def recorded(tiny: Run) -> Path:
    """The last run that was recorded."""
    return runs.save(replace(tiny, id="29991122-094103-tiny"))


def test_report_of_the_last_run(run: Command, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a run it is the last one, and the file has its name; it needs no root."""
    monkeypatch.chdir(tmp_path)
    ended = run("report")
    assert (ended.status, ended.stderr) == (0, "")
    assert f"{recorded.name}.html: 1 run" in ended.stdout
    assert [each.name for each in tmp_path.iterdir()] == [f"{recorded.name}.html"]
    assert recorded.name in Read((tmp_path / f"{recorded.name}.html").read_text()).text


def test_report_on_standard_output(run: Command, recorded: Path) -> None:
    """With `-o -` the page is there, alone."""
    ended = run("report", recorded.name, str(recorded), "-o", "-")
    assert ended.status == 0
    assert ended.stdout.startswith("<!DOCTYPE html>")
    assert Read(ended.stdout).text.startswith("2 runs side by side")


def test_plots_as_files(run: Command, recorded: Path, tmp_path: Path) -> None:
    """Every figure is a PNG and an SVG file, light, named after run and figure."""
    ended = run("report", recorded.name, "-o", str(tmp_path / "r.html"), "--plots", str(tmp_path / "new" / "plots"))
    assert (ended.status, ended.stderr) == (0, "")
    files = {each.name: each.read_bytes() for each in (tmp_path / "new" / "plots").iterdir()}
    kinds = [each.kind for each in charts_of(runs.load(recorded))]
    assert set(files) == {f"{recorded.name}-{kind}.{suffix}" for kind in kinds for suffix in ("png", "svg")}
    assert f"{len(files)} files" in ended.stdout
    for name, content in files.items():
        assert content.startswith(b"\x89PNG\r\n" if name.endswith("png") else b"<?xml"), name
    assert LIGHT["s1"].encode() in files[f"{recorded.name}-eni.svg"]


def test_same_run_same_page(tiny: Run, tiny_page: str) -> None:
    """A report says nothing of when it was made."""
    assert page([tiny]) == tiny_page


@pytest.fixture
def _unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that nobody will see are not drawn."""
    monkeypatch.setattr("lab.report.page.page", lambda _: "a page")


@pytest.mark.usefixtures("recorded", "_unread")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("no-such-run", "-o", "x.html"), "no run 'no-such-run' in"),
        (("last", "-o", "no/such/directory.html"), "-o no/such/directory.html: cannot be written: No such file"),
        (("last", "-o", "/dev/full"), "-o /dev/full: cannot be written: No space left on device"),
        (("last", "-o", "."), "-o .: cannot be written: Is a directory"),
        (("last", "-o", "x.html", "--plots", "file"), "--plots file: cannot be made: File exists"),
    ],
)
def test_bad_input(
    run: Command, arguments: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A sentence with what, where and why, and exit status 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    ended = run("report", *arguments)
    assert ended.status == 2
    assert ended.stderr.startswith(text)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_damaged_record(run: Command, recorded: Path, tmp_path: Path) -> None:
    """A report from a damaged record names the damage, and leaves no page."""
    (recorded / "result.json").write_text("{")
    ended = run("report", recorded.name, "-o", str(tmp_path / "r.html"))
    assert ended.status == 2
    assert f"run {recorded.name} is damaged: result.json" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_matplotlib(run: Command, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the command that installs it is named, exit status 3."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ended = run("report", recorded.name, "-o", "-")
    assert ended.status == 3
    assert "pip install 'lambda-vpc-lab[plots]'" in ended.stderr
    assert ended.stdout == ""
