"""Run records: what is written is read back, what is damaged is named, and a record is found by what people call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
import json
import os
from pathlib import Path
import platform
import shlex

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab import runs
from lab.burst.load import Load, Ramp
from lab.burst.result import BurstResult
from lab.cli.commands import app
from lab.errors import UsageError
from lab.kernel.invoker import invoker
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.runs.commands import burst_command, commands, scale_of
from lab.runs.document import FILES, from_files, to_files
from lab.runs.environment import read_environment
from lab.runs.series import Series
from lab.topology import load_text, scaled
from tests.support.bursts import burst_result, seen
from tests.support.cli import Run as Lab
from tests.support.examples import examples
from tests.support.runs import ran, sample
from tests.support.topologies import each_shipped
from traffic.packet_record import PacketRecord
from traffic.result import Latency, Percentiles

BEGAN_S = ran().began_s
counts = st.integers(0, 2**63)
milliseconds = st.integers(0, 2**31).map(lambda ms: round(BEGAN_S + ms / 1_000, 3))
traffic = st.builds(InterfaceCount, counts, counts, counts, counts)
counted = st.dictionaries(st.text("abc_", min_size=1), st.integers(1, 2**63), max_size=3)
node_samples = st.builds(NodeSample, counted, counted, counts, traffic, traffic)
samples = st.builds(Sample, milliseconds, st.dictionaries(st.sampled_from(["natgw", "eni-a"]), node_samples))
loads = st.one_of(
    st.builds(
        Load,
        connections=st.integers(1, 1_000),
        engine=st.sampled_from(["packet", "socket"]),
        rate_per_s=st.none() | st.floats(1, 1e6),
        hold_s=st.none() | st.floats(0, 86_400),
        connect_timeout_s=st.floats(0.001, 86_400),
        syn_schedule=st.sampled_from(["classic", "linear"]),
        server=st.none() | st.just("cache"),
        function=st.none() | st.just("checkout"),
        lambda_scaling=st.booleans(),
        leave_open=st.booleans(),
        close=st.sampled_from(["fin", "half-close", "reset"]),
        requests_per_connection=st.none() | st.integers(0, 10),
    ),
    st.builds(
        Load,
        connections=st.integers(1, 1_000),
        ramp=st.builds(Ramp, st.floats(1, 1e5), st.floats(1, 1e5), st.floats(1, 100)),
        reuse=st.just(value=True),
        duration_s=st.floats(0, 100),
        connections_per_environment=st.integers(1, 1_024),
    ),
    st.builds(Load, connections=st.integers(1, 1_000), syn_only=st.just(value=True)),
    st.builds(Load, connections=st.integers(1, 1_000), protocol=st.just("udp")),
)


# ── Written and read back ───────────────────────────────────────────────────────────────────────────────────


@each_shipped
def test_round_trip(path: Path) -> None:
    """A run of every topology that ships comes back as it was."""
    run = ran(path.stem, bottleneck=None, timed_out=0, scale=100)
    assert from_files(run.id, to_files(run)) == run


@given(st.lists(samples, max_size=3), loads)
@examples(40)
def test_round_trip_of_values(taken: list[Sample], load: Load) -> None:
    """Whatever was sampled, and whatever was asked for."""
    run = ran(load=load, samples=tuple(taken))
    assert from_files(run.id, to_files(run)) == run


def test_round_trip_of_results() -> None:
    """Flows over UDP, the packets of the scapy engine, and latencies of every kind."""
    slow = Percentiles(3, 0.3, 0.8, 2.0, 4.0, 5.0)
    flows = burst_result(seen(10, 2), load=Load(connections=12, protocol="udp"))
    seen_here = PacketRecord(0.1, "natgw", "outer", "out", 1, "10.0.0.1:1", "203.0.113.10:443", "SYN", 60, "a question")
    explained = replace(burst_result(seen(1), load=Load(connections=1, engine="scapy")), packets=(seen_here,))
    timed = replace(burst_result(seen(3)), latency=Latency(slow, slow, slow), drop_threshold=None)
    for result in (flows, explained, timed):
        run = ran(result=result)
        assert from_files(run.id, to_files(run)) == run


def test_result_is_the_document(tmp_path: Path) -> None:
    """`result.json` is what `lab burst --json` writes, `topology.yaml` what the user wrote, and nothing is twice."""
    run = ran()
    path = runs.save(run, tmp_path)
    assert sorted(each.name for each in path.iterdir()) == sorted(FILES)
    assert json.loads((path / "result.json").read_text()) == json.loads(json.dumps(run.result.to_json()))
    assert (path / "topology.yaml").read_text() == run.topology_text
    written = json.loads((path / "run.json").read_text())
    assert written["schema"] == 1
    assert "result" not in written
    assert "topology_text" not in written


@given(st.integers(2, 9), st.lists(st.integers(0, 5), max_size=80))
@examples(60)
def test_series(most: int, steps: list[int]) -> None:
    """However long a burst lasts its samples are no more than so many, in order, from the first to the last."""
    taken = [sample(at_s=float(sum(steps[: index + 1])), held=index) for index in range(len(steps))]
    series = Series(most)
    for each in taken:
        series.add(each)
    kept = list(series)
    assert len(kept) <= most + 1
    assert kept[:1] == taken[:1]
    assert kept[-1:] == taken[-1:]
    places = [taken.index(each) for each in kept]
    assert places == sorted(set(places))
    if len(taken) <= most and 0 not in steps:
        assert kept == taken


# ── Stored and found ────────────────────────────────────────────────────────────────────────────────────────


def test_saved_is_found(tmp_path: Path) -> None:
    """A run is found by its name, its beginning, as the last one, or by a path."""
    older = ran(id="20261121-094103-tiny", began_s=1.0)
    newer = ran(id="20261122-094103-tiny", began_s=2.0)
    for each in (newer, older):
        runs.save(each, tmp_path)
    for name in ("20261122-094103-tiny", "20261122", "last", "last~0"):
        assert runs.load(name, tmp_path) == newer
    for place in ("20261121", "last~1", tmp_path / older.id, str(tmp_path / older.id / "run.json")):
        assert runs.load(place, tmp_path) == older
    assert [each.run for each in runs.all_runs(tmp_path)] == [newer, older]
    assert runs.newest_of("tiny", tmp_path) == newer
    assert runs.newest_of("other", tmp_path) is None


def test_the_newest_of_a_lab_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are called as of another lab are left alone, however many there are; a name of one's own counts."""
    mine = runs.save(ran(), tmp_path)
    runs.save(ran("one_subnet", id="20991122-094103-tiny-or-not"), tmp_path)
    read, text_of = set[str](), Path.read_text

    def noted(path: Path, encoding: str | None = None) -> str:
        read.add(path.parent.name)
        return text_of(path, encoding)

    monkeypatch.setattr(Path, "read_text", noted)
    assert runs.newest_of("tiny", tmp_path) is not None
    assert read == {mine.name}
    mine.rename(tmp_path / "the-one-to-show")
    assert runs.newest_of("tiny", tmp_path) is not None


def test_same_second(tmp_path: Path) -> None:
    """Two runs of one second have two names, and the second is the last."""
    first, second = (runs.save(ran(established=n), tmp_path) for n in (1, 2))
    assert (first.name, second.name) == ("20261122-094103-tiny", "20261122-094103-tiny-2")
    assert runs.load("last", tmp_path).result.tcp.established == 2
    assert runs.find("20261122-094103-tiny", tmp_path) == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("2026", "run '2026' could be several; write more of it: 20261122-094103-tiny-2, 20261122-094103-tiny"),
        ("2025", "no run '2025' in {0}; known: 20261122-094103-tiny-2, 20261122-094103-tiny"),
        ("", "no run '' in {0}; known: 20261122-094103-tiny-2, 20261122-094103-tiny"),
        ("last~2", "no run 'last~2' in {0}; 2 recorded there"),
        ("/nowhere/x", "run /nowhere/x: No such file or directory; give a record's directory, or its run.json"),
        ("/dev/null", "run /dev/null: no directory; give a record's directory, or its run.json"),
    ],
)
def test_not_found(tmp_path: Path, name: str, text: str) -> None:
    """What is not found, or not one, is refused with what there is."""
    for _ in range(2):
        runs.save(ran(), tmp_path)
    with pytest.raises(UsageError) as refused:
        runs.load(name, tmp_path)
    assert str(refused.value) == text.format(tmp_path)


def test_nothing_recorded(tmp_path: Path) -> None:
    """Without a directory there are no runs."""
    assert list(runs.all_runs(tmp_path / "none")) == []
    with pytest.raises(UsageError, match="none is recorded there: sudo lab burst leaves one"):
        runs.load("last", tmp_path / "none")


def test_beside_others(tmp_path: Path) -> None:
    """In a directory of the user's own nothing else is taken for a record; one that was renamed is."""
    (tmp_path / "photographs").mkdir()
    (tmp_path / "20261122-094103-notes").write_text("")
    (tmp_path / ".20261122-094103-tiny.17").mkdir()
    runs.save(ran(), tmp_path).rename(tmp_path / "before")
    assert [each.id for each in runs.all_runs(tmp_path)] == ["before"]
    assert runs.load("before", tmp_path).id == "before"


def test_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up meanwhile leaves nothing."""
    write = Path.write_text

    def full(path: Path, text: str, **rest: str) -> int:
        if path.name == "samples.jsonl":
            raise OSError(28, "No space left on device")
        return write(path, text, **rest)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        runs.save(ran(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME counts if it is absolute and, under sudo, the user's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert runs.default_directory() == tmp_path / "lab" / "runs"
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    assert runs.default_directory() == invoker().home / ".local" / "share" / "lab" / "runs"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "65534")  # nobody, to whom the directory does not belong
    assert not runs.default_directory().is_relative_to(tmp_path)


# ── Damaged ─────────────────────────────────────────────────────────────────────────────────────────────────

Damage = Callable[[Path], object]


def cut(name: str, keep: int) -> Damage:
    """A file of which only the beginning is left."""
    return lambda path: (path / name).write_text((path / name).read_text()[:keep])


def changed(name: str, **fields: object) -> Damage:
    """A JSON file with other values; None takes a field away."""

    def change(path: Path) -> None:
        document = json.loads((path / name).read_text()) | fields
        (path / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))

    return change


def with_a_field(name: str) -> Damage:
    """A topology with one more, its name as JSON has it."""

    def change(path: Path) -> None:
        text = (path / "run.json").read_text()
        (path / "run.json").write_text(text.replace('"topology": {', f'"topology": {{"{name}": 1, '))

    return change


def emptied(path: Path) -> None:
    """A directory with nothing in it."""
    for each in path.iterdir():
        each.unlink()


ID = "20261122-094103-tiny"
DAMAGES: list[tuple[Damage, str]] = [
    (emptied, "run.json: is missing, as is everything: the directory is empty"),
    *((lambda path, name=name: (path / name).unlink(), f"{name}: is missing") for name in FILES),
    (cut("run.json", 0), "run.json: is empty"),
    (cut("result.json", 20), "result.json: is not JSON: line 3: "),
    (lambda path: (path / "run.json").write_text("[1]"), "run.json: is no JSON object: '[1]'"),
    (lambda path: (path / "run.json").write_text("[" * 100_000), "run.json: is not JSON: "),
    (lambda path: (path / "run.json").write_bytes(b"\xff"), "run.json: is not UTF-8"),
    (changed("run.json", schema=None), "run.json: has no schema number"),
    (changed("run.json", schema="1"), "run.json: has no schema number"),
    (changed("run.json", began_s=None), "run.json: began_s: is missing"),
    (changed("run.json", nodes=[{}]), "run.json: nodes[0].node: is missing (and 6 more)"),
    (changed("run.json", load={"connections": 0}), "run.json: -n 0: a burst has at least one connection"),
    (changed("run.json", topology={"version": 1}), "run.json: topology.name: is missing"),
    (with_a_field(r"\u001b[2J"), r"run.json: topology.\x1b[2J: extra inputs are not permitted"),
    (changed("result.json", tcp=None), "result.json: tcp: is missing"),
    (changed("result.json", offered="many"), "result.json: offered: input should be a valid integer"),
    (cut("samples.jsonl", 100), "samples.jsonl: line 2 is no sample: "),
    (cut("samples.jsonl", -1), ""),
    (lambda path: (path / "samples.jsonl").write_text(""), "samples.jsonl: has 0 samples, 2 were written"),
    (lambda path: (path / "samples.jsonl").write_text("[1,{}]\n[]\n"), "samples.jsonl: line 2 is no sample: '[]'"),
    (changed("run.json", began_s=1e18), "run.json: began_s: 1e+18 is no time"),
    (changed("run.json", nodes=[]), "run.json: nodes: eni-private-a is missing, which limiters has"),
    (lambda path: (path / "samples.jsonl").write_text("[1e999,{}]\n" * 2), "samples.jsonl: no sample: '[1e999,{}]'"),
    (
        lambda path: (path / "samples.jsonl").write_text("[1e11,{}]\n" * 2),
        "samples.jsonl: line 1: 100000000000 is more than 30 days from the run's beginning",
    ),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_damaged(tmp_path: Path, damage: Damage, text: str) -> None:
    """A record that is damaged is refused with the file and what is wrong with it, and listed as damaged."""
    path = runs.save(ran(), tmp_path)
    damage(path)
    (found,) = runs.all_runs(tmp_path)
    if not text:  # a last line without its end is whole
        assert found.run is not None
        return
    assert found.run is None
    assert (found.fault or "").startswith(f"run {ID} is damaged: {text}")
    assert "\n" not in (found.fault or "")
    with pytest.raises(UsageError) as refused:
        runs.load(ID, tmp_path)
    assert str(refused.value) == found.fault
    assert runs.newest_of("tiny", tmp_path) is None


def test_unreadable(tmp_path: Path) -> None:
    """What cannot be read is not called damaged."""
    path = runs.save(ran(), tmp_path)
    (path / "samples.jsonl").unlink()
    (path / "samples.jsonl").mkdir()
    with pytest.raises(UsageError) as refused:
        runs.load(path)
    assert str(refused.value) == f"run {ID}: samples.jsonl cannot be read: Is a directory"
    (path / "samples.jsonl").rmdir()
    os.mkfifo(path / "samples.jsonl")  # nobody is waited for
    with pytest.raises(UsageError) as refused:
        runs.load(path)
    assert str(refused.value) == f"run {ID}: samples.jsonl cannot be read: no regular file"


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_another_version(tmp_path: Path, name: str) -> None:
    """A record of another schema is not called damaged: it says which version it is of, and what to do."""
    changed(name, schema=3)(runs.save(ran(), tmp_path))
    with pytest.raises(UsageError) as refused:
        runs.load("last", tmp_path)
    assert str(refused.value) == (
        f"run {ID} was recorded by another version of the lab ({name} has schema 3, this is 1); "
        "read it with that version, or make it again with the commands in its run.json"
    )


# ── What makes it again, and where it was made ──────────────────────────────────────────────────────────────


class _Asked(Exception):  # noqa: N818 -- it is what the test wants
    """What a lab was asked to carry."""


class _Recording:
    """A lab that only listens."""

    @staticmethod
    def carry(load: Load, *_: object, **__: object) -> None:
        """Tell, and go no further."""
        raise _Asked(load)


def test_burst_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that is recorded asks for the very same load."""
    monkeypatch.setattr("lab.lab.Lab.find", lambda name: _Recording() if name == "tiny" else None)

    @given(loads)
    @examples(40)
    def says_the_same(wanted: Load) -> None:
        _, _, *words = shlex.split(burst_command("tiny", wanted))
        with pytest.raises(_Asked) as asked:
            app(words, prog_name="lab", standalone_mode=False)
        assert asked.value.args == (wanted,)

    says_the_same()


@each_shipped
def test_scale(path: Path) -> None:
    """The scale that is found gives the limits that were applied."""
    text = path.read_text(encoding="utf-8")
    written = load_text(text)
    for scale in (1, 100):
        found = scale_of(text, scaled(written, scale))
        assert found is not None
        assert found <= scale
        assert scaled(written, found) == scaled(written, scale)


def test_commands() -> None:
    """From nothing to the burst: the scale and another name are known."""
    run = ran("two_subnets", 1_300, 100, scale=100)
    assert run.commands == (
        "sudo lab up topology.yaml --scale 100",
        "sudo lab burst --lab two-subnets -n 1400 --connect-timeout 1",
    )
    other = commands("other", run.topology_text, run.topology, run.load)
    assert other[0] == "sudo lab up topology.yaml --scale 100 --name other"
    limits = run.topology.hyperplane_eni.model_copy(update={"connection_limit": 7})
    assert scale_of(run.topology_text, run.topology.model_copy(update={"hyperplane_eni": limits})) is None


def test_environment() -> None:
    """What this machine says of itself."""
    found = read_environment()
    assert found.kernel == platform.release()
    assert found.processors >= 1
    assert found.memory_bytes > 1 << 20
    assert "pydantic" in found.packages or found.packages == {}


# ── On the command line ─────────────────────────────────────────────────────────────────────────────────────


class _Carrying:
    """A lab in which every burst ends like the recorded one."""

    def __init__(self, run: runs.Run) -> None:
        self._run = run
        self.sampled: list[bool] = []

    def carry(self, _: Load, sampled: Callable[[Sample], None] | None = None, **__: object) -> BurstResult:
        """Sample once, if anybody wants it."""
        self.sampled.append(sampled is not None)
        if sampled is not None:
            sampled(self._run.samples[0])
        return self._run.result

    def record(self, load: Load, result: BurstResult, samples: Iterable[Sample], began_s: float) -> runs.Run:
        """As a real one."""
        return replace(self._run, load=load, result=result, samples=tuple(samples), began_s=began_s)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records go: a user's own directory."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "lab" / "runs"


@pytest.fixture
def carrying(monkeypatch: pytest.MonkeyPatch) -> _Carrying:
    """The lab that every burst finds."""
    found = _Carrying(ran())
    monkeypatch.setattr("lab.lab.Lab.find", lambda _: found)
    return found


def test_burst_records(run: Lab, data: Path, carrying: _Carrying) -> None:
    """A burst leaves a record and says so last, beside a document on standard error; not without, or twice asked."""
    line = f"recorded: {ID} (lab report {ID} -o report.html)"
    assert run("burst", "-n", "5").stdout.splitlines()[-1] == line
    assert runs.load("last", data).load.connections == 5
    status, out, err = run("burst", "-n", "5", "--json", "-")
    assert (status, err) == (0, line.replace(ID, f"{ID}-2") + "\n")
    recorded = json.loads((data / f"{ID}-2" / "result.json").read_text())
    assert json.loads(out) == recorded | {"verdict": json.loads(out)["verdict"]}
    assert "recorded" not in run("burst", "-n", "5", "--no-record").stdout
    assert carrying.sampled == [True, True, False]
    assert len(list(runs.all_runs(data))) == 2
    refused = run("burst", "-n", "5", "--no-record", "--record", "/x")
    assert refused == (2, "", "--record /x --no-record: one of them\n")


@pytest.mark.usefixtures("carrying")
def test_burst_cannot_record(run: Lab, tmp_path: Path) -> None:
    """Where there can be no record there is a notice, and the burst's own status and output."""
    place = tmp_path / "a file"
    place.write_text("")
    for where in (place, place / "below"):
        status, _, err = run("burst", "-n", "5", "--record", str(where), "--expect", "established=1")
        assert status == 1
        assert err.startswith(f"not recorded: {where}: ")
        assert err.endswith("without\nexpected established=1, saw established=30\n")


def test_names_are_text(run: Lab, data: Path) -> None:
    """A record's name that would colour a terminal is shown instead."""
    (data / "20261122-094103-\x1b[31m").mkdir(parents=True)
    status, out, err = run("runs")
    assert status == 0
    assert "20261122-094103-\\x1b[31m" in out
    assert "\x1b" not in out + err


def test_runs_command(run: Lab, data: Path) -> None:
    """The newest first, as many as are asked for, of one lab, and damaged ones as such."""
    assert run("runs").stdout == f"no run is recorded in {data}; lab burst leaves one\n"
    for day, name in ((21, "tiny"), (22, "two_subnets"), (23, "tiny")):
        made = ran(name)
        runs.save(replace(made, id=f"202611{day}-094103-{made.result.lab}"))
    (data / "20261123-094103-tiny" / "run.json").unlink()
    status, out, err = run("runs")
    title, damaged, newer, older = out.splitlines()
    assert status == 0
    assert title.split()[:3] == ["run", "when", "topology"]
    assert damaged.split() == ["20261123-094103-tiny", "unreadable"]
    assert newer.startswith("20261122-094103-two-subnets ")
    assert older.split()[3:] == ["tiny", "40", "30", "10", "30", "nat_gateway"]
    assert err == "run 20261123-094103-tiny is damaged: run.json: is missing\n"
    assert run("runs", "-n", "1").stdout.count("\n") == 2
    assert "two-subnets" not in run("runs", "--lab", "tiny").stdout
    (document,) = json.loads(run("runs", "--lab", "two-subnets", "--json").stdout)
    assert (document["established"], document["fault"]) == (30, None)
    faults = [each["fault"] is None for each in json.loads(run("runs", "--json").stdout)]
    assert faults == [False, True, True]
    assert run("runs", "--lab", "none").stdout.startswith("no run in lab none is recorded in ")

    assert run("runs", "--keep", "1").stdout == "1 run removed\n"
    assert [each.id for each in runs.all_runs()] == ["20261123-094103-tiny", "20261122-094103-two-subnets"]
    (data / "20261122-094103-two-subnets" / "my notes").write_text("")
    status, _, err = run("runs", "--keep", "0")
    assert status == 2
    assert err == f"{data}/20261122-094103-two-subnets: cannot be removed: Directory not empty\n"


def test_what_is_no_record_of_the_labs_is_not_removed(run: Lab, data: Path, tmp_path: Path) -> None:
    """`--keep` takes no directory without a `run.json` of a run, and none that a link leads to; damaged records go."""
    damaged = runs.save(ran("tiny"))
    (damaged / "result.json").write_text("")
    elsewhere = runs.save(ran("tiny"), tmp_path / "elsewhere")
    (data / "20261101-000000-link").symlink_to(elsewhere)
    for name, text in (("mine", None), ("other", "[]"), ("deep", "[" * 100_000), ("binary", "\x00")):
        (data / f"20261101-000000-{name}").mkdir()
        (data / f"20261101-000000-{name}" / "topology.yaml").write_text("mine")
        if text is not None:
            (data / f"20261101-000000-{name}" / "run.json").write_text(text)
    (data / "20261101-000000-mine" / "run.json").symlink_to(elsewhere / "run.json")
    others = {each for each in (*data.rglob("*"), *elsewhere.rglob("*")) if not each.is_relative_to(damaged)}
    assert run("runs", "--keep", "0").stdout == "1 run removed\n"
    assert {*data.rglob("*"), *elsewhere.rglob("*")} == others
