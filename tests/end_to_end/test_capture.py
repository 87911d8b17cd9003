"""`lab capture` during a burst that both kinds of limits refuse a part of, its files opened with tshark."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
import os
from pathlib import Path
import signal
import subprocess
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

import pytest

from lab.lab import Lab
from lab.observe.samples import Sample
from tests.support.command import LAB, Ended, environment, run_lab
from tests.support.machine import NETNS, require_machine, require_no_sandbox

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
BURST = 50
"""20 pass each ENI; of those 40, 30 pass the NAT gateway."""
WITHIN_S = 60
FILE_BYTES = 20_000


class Packet(NamedTuple):
    """What tshark says of a packet."""

    interface: str
    at_s: float
    source: str
    port: str
    is_syn: bool
    sequence: str
    comment: str


FIELDS = (
    *("frame.interface_name", "frame.time_epoch", "ip.src", "tcp.srcport"),
    *("tcp.flags", "tcp.seq_raw", "frame.comment"),
)


def tshark(*arguments: object, data: bytes | None = None) -> str:
    """What tshark prints."""
    require_machine("tshark")
    done = subprocess.run(
        ("tshark", "-n", *map(str, arguments)), input=data, capture_output=True, check=True, timeout=WITHIN_S
    )
    return done.stdout.decode()


def packets(path: Path) -> list[Packet]:
    """Every packet of a file."""
    fields = [word for field in FIELDS for word in ("-e", field)]
    rows = [line.split("\t") for line in tshark("-r", path, "-T", "fields", *fields).splitlines()]
    return [
        Packet(interface, float(at_s), source, port, flags == "0x0002", sequence, comment)
        for interface, at_s, source, port, flags, sequence, comment in rows
    ]


class Capture:
    """`lab capture` that runs, and listens already."""

    def __init__(self, lab: Lab, *arguments: object, through: tuple[str, ...] = (), stdout: IO[bytes] | int) -> None:
        self._process = subprocess.Popen(
            (*through, LAB, "capture", "--lab", lab.name, *map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def wait_until_it_listens(self) -> None:
        """Return when it has said so."""
        assert self._process.stderr is not None
        assert b"listening" in self._process.stderr.readline()

    def stop(self, number: int = signal.SIGINT) -> Ended:
        """Tell it to end, and have what it says."""
        self._process.send_signal(number)
        return self.end()

    def end(self) -> Ended:
        """What it says when it has ended by itself."""
        out, err = self._process.communicate(timeout=WITHIN_S)
        return Ended(self._process.returncode, (out or b"").decode(), err.decode())


@dataclass(frozen=True)
class Story:
    """A burst with captures around it."""

    lab: Lab
    directory: Path
    before: Sample
    after: Sample
    path: Ended
    """The whole path, told in JSON."""
    dropped: Ended
    piped: Ended
    full: Ended
    """The one that ran out of room."""

    def counted(self) -> dict[str, tuple[int, int]]:
        """NAT node → packets that crossed its inner and its outer interface meanwhile, by the kernel's statistics."""
        found = {}
        for name, after in self.after.nodes.items():
            before = self.before.nodes[name]
            found[name] = tuple(
                now.packets_in + now.packets_out - then.packets_in - then.packets_out
                for now, then in ((after.inner, before.inner), (after.outer, before.outer))
            )
        return {name: (inner, outer) for name, (inner, outer) in found.items()}

    def refused(self) -> dict[str, int]:
        """NAT node → packets that it refused meanwhile."""
        nodes = self.after.nodes
        return {name: nodes[name].refused_packets - self.before.nodes[name].refused_packets for name in nodes}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Four captures of one burst in the topology `tiny`."""
    require_machine("tshark")
    directory = tmp_path_factory.mktemp("captures")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.up(TINY, name=f"test-{os.getpid()}-capture"))
        pipe = stack.enter_context((directory / "piped.pcapng").open("wb"))
        # Python 3.11 would cut its .pyc files off at this size, too, and keep them (importlib, _write_atomic).
        small = ("env", "PYTHONDONTWRITEBYTECODE=1", "prlimit", f"--fsize={FILE_BYTES}")
        captures = [
            Capture(lab, "-w", directory / "path.pcapng", "--json", stdout=subprocess.PIPE),
            Capture(lab, "--dropped", "-w", directory / "dropped.pcapng", stdout=subprocess.PIPE),
            Capture(lab, "natgw:inet", "-w", "-", "--filter", "tcp[tcpflags] == tcp-syn", stdout=pipe),
            Capture(lab, "natgw", "vpc:natgw", "-w", directory / "full.pcapng", through=small, stdout=subprocess.PIPE),
        ]
        for each in captures:
            each.wait_until_it_listens()
        before = lab.sample()
        lab.burst(BURST, connect_timeout_s=1)
        after = lab.sample()
        path, dropped, piped = (each.stop() for each in captures[:3])
        yield Story(lab, directory, before, after, path, dropped, piped, captures[3].end())


@pytest.fixture(scope="module")
def path(story: Story) -> list[Packet]:
    """Every packet of the whole path."""
    return packets(story.directory / "path.pcapng")


def syns(path: list[Packet]) -> dict[str, list[Packet]]:
    """Connection, known by its sequence number → each sight of its SYN, in the file's order."""
    found = defaultdict(list)
    for each in path:
        if each.is_syn:
            found[each.sequence].append(each)
    return found


def way_through(eni: str) -> list[str]:
    """The interfaces that a SYN crosses behind this ENI."""
    return [
        *("fn-checkout:svc", f"{eni}:svc", f"{eni}:vpc", f"vpc:{eni}", "vpc:natgw", "natgw:vpc"),
        *("natgw:inet", "inet:natgw", "inet:srv-cache", "srv-cache:inet"),
    ]


def test_a_syn_is_seen_at_each_step_of_its_way(path: list[Packet]) -> None:
    """30 SYNs cross every interface, 10 stop before the NAT gateway's outer one, 10 do not come out of an ENI."""
    stops = Counter[str]()
    for sights in syns(path).values():
        eni = sights[1].interface.partition(":")[0]
        way = way_through(eni)
        assert [each.interface for each in sights] == way[: len(sights)]
        assert all(earlier.at_s <= later.at_s for earlier, later in pairwise(sights))
        stops[sights[-1].interface.replace(eni, "eni")] += 1
    assert stops == {"srv-cache:inet": 30, "natgw:vpc": 10, "eni:svc": 10}


def test_addresses_are_translated_twice(path: list[Packet]) -> None:
    """The same SYN has an environment's address, then the ENI's, then an Elastic IP."""
    sights = max(syns(path).values(), key=len)
    eni = {"eni-private-a:svc": "10.0.1.4", "eni-private-b:svc": "10.0.2.4"}[sights[1].interface]
    sources = [each.source for each in sights]
    assert sources[0].startswith("100.65.")
    assert sources[:6] == [sources[0]] * 2 + [eni] * 4
    assert sources[6] in {"198.51.100.1", "198.51.100.2"}
    assert sources[6:] == [sources[6]] * 4


def test_captures_and_counters_agree_to_the_packet(story: Story, path: list[Packet]) -> None:
    """At both interfaces of every NAT node there are as many packets in the file as the kernel counted, and as told."""
    seen = Counter(each.interface for each in path)
    outer = defaultdict(lambda: ("svc", "vpc"), natgw=("vpc", "inet"))
    assert {name: tuple(seen[f"{name}:{each}"] for each in outer[name]) for name in story.after.nodes} == (
        story.counted()
    )
    told = story.path.json
    assert (story.path.status, told["end"], told["missed_packets"]) == (0, "asked", 0)
    assert {each["name"]: each["packets"] for each in told["interfaces"]} == seen
    assert told["packets"] == len(path)


def test_only_what_was_dropped(story: Story, path: list[Packet]) -> None:
    """`--dropped` has each packet that a limit refused, and nothing else: SYNs of connections that went no further."""
    dropped = packets(story.directory / "dropped.pcapng")
    assert Counter(each.interface.removesuffix(" (dropped)") for each in dropped) == Counter(story.refused())
    assert sum(story.refused().values()) == 20
    assert all(each.is_syn for each in dropped)
    went_on = {each.sequence for each in path if each.is_syn and each.interface == "natgw:inet"}
    assert len({each.sequence for each in dropped}) == 20
    assert not {each.sequence for each in dropped} & went_on
    assert {each.comment for each in dropped if each.interface == "eni-private-a (dropped)"} == {
        "eni-private-a: no slot free in connections"
    }
    assert story.dropped.status == 0
    assert f"20 packets in {story.directory / 'dropped.pcapng'}" in story.dropped.stdout


def test_through_a_pipe(story: Story, path: list[Packet]) -> None:
    """`-w -` writes the file to standard output, where tshark reads it; a filter leaves only what matches."""
    piped = (story.directory / "piped.pcapng").read_bytes()
    read = tshark("-r", "-", "-T", "fields", "-e", "tcp.seq_raw", data=piped).split()
    assert sorted(read) == sorted(each.sequence for each in path if each.is_syn and each.interface == "natgw:inet")
    assert (len(read), story.piped.status) == (30, 0)
    assert "30 packets in standard output" in story.piped.stderr


def test_no_more_room(story: Story) -> None:
    """When the file cannot grow the capture ends with status 4 and a sentence, and what is in the file can be read."""
    full = story.directory / "full.pcapng"
    assert story.full.status == 4
    assert FILE_BYTES - 200 < full.stat().st_size <= FILE_BYTES
    count = len(packets(full))
    assert 100 < count < 300
    assert story.full.stderr.endswith(f"{full}: File too large; it ends there, with {count} packets\n")


# ── Files, ends, mistakes ───────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_the_users(story: Story) -> None:
    """Under sudo the file belongs to who called it, who must be allowed to write it; one that was there is replaced."""
    require_no_sandbox()
    with TemporaryDirectory() as name:  # pytest's own directories are root's alone
        there, mine = Path(name), Path(name, "mine")
        there.chmod(0o755)
        mine.mkdir()
        os.chown(mine, 4711, 4711)
        words = ("capture", "--lab", story.lab.name, "resolver", "--seconds", 0.1, "--json", "-w")
        done = run_lab(*words, mine / "file.pcapng", SUDO_UID="4711", SUDO_GID="4711")
        assert done.status == 0, done.stderr
        assert (done.json["end"], (mine / "file.pcapng").stat().st_uid) == ("seconds", 4711)
        assert packets(mine / "file.pcapng") == []
        refused = run_lab(*words, there / "file.pcapng", SUDO_UID="4711", SUDO_GID="4711")
        assert refused.status == 2
        assert refused.stderr.startswith(f"-w {there / 'file.pcapng'}: cannot be written: Permission denied")


def test_somebody_else_listens(story: Story, tmp_path: Path) -> None:
    """Of what a node refuses there is one listener: a second capture ends with status 4, and leaves no file."""
    words, path = ("natgw", "--dropped", "-w"), tmp_path / "second.pcapng"
    first = Capture(story.lab, *words, tmp_path / "first.pcapng", stdout=subprocess.DEVNULL)
    first.wait_until_it_listens()
    second = run_lab("capture", "--lab", story.lab.name, *words, path)
    assert first.stop().status == 0
    assert (second.status, second.stdout, path.exists()) == (4, "", False)
    assert second.stderr.startswith("NFLOG group 1 of node natgw: ")
    assert "one listener at a time" in second.stderr


def test_the_lab_is_taken_down_meanwhile(story: Story, tmp_path: Path) -> None:
    """A capture ends with its lab: the file is whole, nothing of the lab is kept alive, and the reason is told."""
    with Lab.up(TINY, name=f"{story.lab.name}-gone") as lab:
        capture = Capture(lab, "-w", tmp_path / "gone.pcapng", "--json", stdout=subprocess.PIPE)
        capture.wait_until_it_listens()
        lab.burst(2, connect_timeout_s=1)
    ended = capture.end()
    assert (ended.status, ended.json["end"]) == (0, "gone")
    assert len(packets(tmp_path / "gone.pcapng")) == ended.json["packets"] > 0
    assert not list(NETNS.glob(f"lab-{lab.name}-*"))


def test_no_tcpdump(story: Story, tmp_path: Path) -> None:
    """A filter needs tcpdump: without it the capture ends with status 3 and the package's name; no file is made."""
    path = tmp_path / "file.pcapng"
    words = ("capture", "--lab", story.lab.name, "-w", path, "--filter", "tcp")
    ended = run_lab(*words, PATH=str(tmp_path))
    assert (ended.status, ended.stdout) == (3, "")
    assert "apt-get install -y tcpdump" in ended.stderr
    assert not path.exists()


def test_a_filter_that_is_none(story: Story, tmp_path: Path) -> None:
    """It ends with status 2 and tcpdump's words, and the file is left as it was."""
    path = tmp_path / "file.pcapng"
    path.write_text("kept")
    ended = run_lab("capture", "--lab", story.lab.name, "-w", path, "--filter", "tcp prt 443")
    assert ended == (2, "", "--filter 'tcp prt 443': can't parse filter expression: syntax error\n")
    assert path.read_text() == "kept"
