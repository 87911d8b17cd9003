"""The samples that a lab keeps: nothing lost, nothing twice, bounded, and whole lines whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import resource
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.observe.collector import collect
from lab.observe.history import History, read
from lab.observe.samples import InterfaceCount, NodeSample, Sample

if TYPE_CHECKING:
    from pathlib import Path

NEWEST, OLDER, OLDEST = (f"samples.{number}.jsonl" for number in range(3))


def sample(second: float, admitted: int) -> Sample:
    """One node at a time of the day, with so many connections admitted."""
    traffic = InterfaceCount(admitted, 60 * admitted, 0, 0)
    reading = NodeSample({"connections_admitted": admitted} if admitted else {}, {}, admitted, traffic, traffic)
    return Sample(1_000_000_000.0 + second, {"natgw": reading})


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files can become so large and no larger: what fits is written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Samples come back as they were, the oldest first."""
    history, wanted = History(tmp_path), [sample(second, second) for second in range(5)]
    for each in wanted:
        history.add(each)
    assert list(read(tmp_path)) == wanted


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_only_what_says_nothing_new_is_left_out(tmp_path_factory: pytest.TempPathFactory, growth: list[int]) -> None:
    """Of samples that are the same, the first and the last are kept, the last one as soon as another comes."""
    directory = tmp_path_factory.mktemp("lab")
    history, total, taken = History(directory), 0, []
    for second, more in enumerate(growth):
        total += more
        taken.append(sample(second, total))
        history.add(taken[-1])
    wanted = [
        each
        for index, each in enumerate(taken)
        if index == 0
        or each.nodes != taken[index - 1].nodes
        or (index + 1 < len(taken) and each.nodes != taken[index + 1].nodes)
    ]
    assert list(read(directory)) == wanted


def test_files_are_few_and_small(tmp_path: Path) -> None:
    """Three files at most, each hardly larger than it may be; what is dropped is the oldest."""
    history = History(tmp_path, file_bytes=1_000)
    for second in range(200):
        history.add(sample(second, second))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NEWEST, OLDER, OLDEST]
    assert all(path.stat().st_size < 1_200 for path in tmp_path.iterdir())
    seconds = [each.at_s - 1_000_000_000 for each in read(tmp_path)]
    assert seconds == list(range(200 - len(seconds), 200))
    assert len(seconds) > 15


def test_files_that_move_on_while_they_are_read(tmp_path: Path) -> None:
    """Whoever reads as a new file is begun misses nothing that was there, and gets nothing twice."""
    history = History(tmp_path, file_bytes=1_000)
    for second in range(19):
        history.add(sample(second, second))
    reading = read(tmp_path)
    first = next(reading)
    for second in range(19, 30):
        history.add(sample(second, second))
    seconds = [each.at_s - 1_000_000_000 for each in (first, *reading)]
    assert seconds == list(range(len(seconds)))
    assert len(seconds) >= 19


def test_no_room(tmp_path: Path) -> None:
    """Where there is room for half a line there is none of it; the next sample that finds room has all it had."""
    history = History(tmp_path)
    history.add(sample(0, 0))
    history.add(sample(1, 0))
    size = (tmp_path / NEWEST).stat().st_size
    with room_for(size + 90), pytest.raises(OSError, match="No space left"):
        history.add(sample(2, 1))
    assert (tmp_path / NEWEST).stat().st_size == size
    history.add(sample(3, 1))
    assert list(read(tmp_path)) == [sample(0, 0), sample(1, 0), sample(3, 1)]


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    """What is no sample is left out; every other line counts."""
    history = History(tmp_path)
    history.add(sample(0, 0))
    with (tmp_path / NEWEST).open("ab") as file:
        file.write(b'[17,{"natgw":[1]}]\n[1,\n{}\n\xff\xfe\n"x"\n[1,{"natgw":[{},{},0,[1],[1]]}]\n')
        file.write(b"[1e999,{}]\n[NaN,{}]\n[" * 9 + b"[" * 200_000 + b"\n")
        for counters, active in ((b'{"a":"1"}', b"1"), (b'{"a":1.5}', b"1"), (b"{}", b"9" * 400), (b"{}", b'"1"')):
            file.write(b'[1,{"natgw":[%b,{},%b,[1,1,1,1],[1,1,1,1]]}]\n' % (counters, active))
    history.add(sample(1, 1))
    assert list(read(tmp_path)) == [sample(0, 0), sample(1, 1)]


def test_a_lab_that_is_gone(tmp_path: Path) -> None:
    """There is nothing to read, and nowhere to write."""
    assert list(read(tmp_path / "gone")) == []
    with pytest.raises(FileNotFoundError):
        History(tmp_path / "gone").add(sample(0, 0))


def test_a_sample_without_zeros_is_the_same_one() -> None:
    """What is 0 is not written, and means 0."""
    reading = NodeSample(
        {"connections_closed": 0}, {"eip1": 0}, 0, InterfaceCount(1, 2, 3, 4), InterfaceCount(5, 6, 7, 8)
    )
    line = Sample(12.3456, {"natgw": reading}).to_json()
    assert line == '[12.346,{"natgw":[{},{},0,[1,2,3,4],[5,6,7,8]]}]'
    again = Sample.from_json(line).nodes["natgw"]
    assert (again.closed, again.inner, again.outer) == (0, reading.inner, reading.outer)


# ── The collector ───────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Time that passes only where it is told to: while samples are taken, and while one sleeps."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def time(self) -> float:
        """Unix time."""
        return self.now_s

    def sleep(self, for_s: float) -> None:
        """Wakes some milliseconds late."""
        self.now_s += for_s + 0.003


@pytest.mark.parametrize(
    ("takes_s", "seconds"),
    [
        (0.002, [0.4, 1.003, 2.003, 3.003, 4.003]),
        (0.2, [0.4, 5.003, 10.003, 15.003, 20.003]),  # no more than a twentieth of the time
    ],
)
def test_samples_are_taken_on_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_s: float, seconds: list[float]
) -> None:
    """The first at once, then on each second, or on fewer where a sample takes long; until the lab's record is gone."""
    clock, directory = Clock(1_000_000_000.4), tmp_path / "lab"
    taken: list[Sample] = []
    directory.mkdir()

    def take(*_: object) -> Sample:
        taken.append(sample(round(clock.now_s - 1_000_000_000, 6), len(taken)))
        clock.now_s += takes_s
        if len(taken) == len(seconds):
            for each in directory.iterdir():
                each.unlink()
            directory.rmdir()
        return taken[-1]

    monkeypatch.setattr("lab.observe.collector.time", clock)
    monkeypatch.setattr("lab.observe.sampling.Sampler.take", take)
    collect(directory, ())
    assert [round(each.at_s - 1_000_000_000, 6) for each in taken] == seconds
