"""What a capture writes, read by scapy: blocks, the order of packets, files that end too early; where it listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
import os
from pathlib import Path
import struct
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
import pytest
from scapy.utils import RawPcapNgReader

from lab.capture import pcapng
from lab.capture.recording import End, Limits, Outcome, Output, record
from lab.capture.sources import PacketOptions, all_interfaces, node_interfaces, require_limiting
from lab.errors import UsageError
from lab.kernel.packets.frames import Frames
from lab.nodes.build import build
from lab.plan.objects import BridgePort, NodePlan, VethPair
from lab.topology import load
from tests.support.cli import Run
from tests.support.topologies import SHIPPED

KINDS = (pcapng.flags(outgoing=False, reception=1), pcapng.flags(outgoing=True), pcapng.comment("no slot: größer"))
DIRECTIONS = (1, 2, None)
COMMENTS = (None, None, ["no slot: größer".encode()])
INTERFACES = (
    pcapng.Interface("eni-private-a:svc", "hyperplane eni 10.0.1.4", pcapng.ETHERNET, 262_144, "tcp port 443"),
    pcapng.Interface("natgw (dropped)", "nat gateway", pcapng.RAW, 96),
)


class Packet(NamedTuple):
    """A packet before it is written."""

    payload: bytes
    cut_off: int
    at_ns: int
    kind: int
    interface: int


PACKETS = st.builds(
    Packet,
    payload=st.binary(max_size=70),
    cut_off=st.integers(0, 2000),
    at_ns=st.integers(0, 2**63),
    kind=st.integers(0, len(KINDS) - 1),
    interface=st.integers(0, len(INTERFACES) - 1),
)


def frames(packets: Sequence[Packet]) -> Frames:
    """These packets as they are captured, those of each interface together."""
    of_interfaces = []
    for number in range(len(INTERFACES)):
        some = [each for each in packets if each.interface == number]
        lengths = [len(each.payload) + each.cut_off for each in some]
        times, options = [each.at_ns for each in some], [each.kind for each in some]
        of_interfaces.append(Frames.of([each.payload for each in some], lengths, times, options).at(number))
    return Frames.merged(of_interfaces)


def read(data: bytes) -> Iterator[tuple[bytes, Any]]:
    """Every packet of a file."""
    return iter(RawPcapNgReader(BytesIO(data)))


@given(st.lists(PACKETS))
def test_round_trip(packets: list[Packet]) -> None:
    """Every packet comes back: bytes, both lengths, the time to the nanosecond, interface, direction, comment."""
    data = pcapng.header("lab capture", "Linux", INTERFACES, "a lab") + pcapng.packets(frames(packets), KINDS).tobytes()
    found = list(read(data))
    in_time = sorted(packets, key=lambda each: (each.at_ns, each.interface))
    assert [payload for payload, _ in found] == [each.payload for each in in_time]
    for (_, about), sent in zip(found, in_time, strict=True):
        assert about.wirelen == len(sent.payload) + sent.cut_off
        assert (about.tshigh << 32 | about.tslow, about.tsresol) == (sent.at_ns, 10**9)
        interface = INTERFACES[sent.interface]
        assert (about.ifname.decode(), about.linktype) == (interface.name, interface.link_type)
        assert (about.direction, about.comments) == (DIRECTIONS[sent.kind], COMMENTS[sent.kind])


@given(st.lists(PACKETS, max_size=5), st.data())
def test_where_a_cut_file_ends(packets: list[Packet], data: st.DataObject) -> None:
    """Of a file that was cut off anywhere, the whole blocks are found: not one more would fit."""
    blocks = [pcapng.packets(frames([each]), KINDS).tobytes() for each in packets]
    length = data.draw(st.integers(0, sum(map(len, blocks))))
    found, whole = pcapng.whole_blocks(b"".join(blocks)[:length])
    assert whole == sum(map(len, blocks[:found])) <= length
    assert found == len(blocks) or whole + len(blocks[found]) > length


def test_padding_is_zero() -> None:
    """What lies behind a packet in the buffer does not get into the file."""
    whole = Frames.of([b"abcdefgh"], [8], [0], [0])
    cut = Frames(whole.words, whole.start, whole.captured - 3, whole.original, whole.at_ns, whole.kind, whole.interface)
    blocks = pcapng.packets(cut, KINDS).tobytes()
    assert b"abcde\0\0\0" in blocks
    assert b"f" not in blocks


# ── A capture from sources that are not in the kernel ──────────────────────────────────────────────────────────


@dataclass
class FakeSource:
    """Hears what it is told to; one that has dropped packets says so."""

    described: pcapng.Interface
    turns: list[Frames]
    lost: int = 0
    ended: bool = False
    node: NodePlan = field(default_factory=lambda: NodePlan("natgw", "nat_gateway", "lab-no-such-natgw", ()))

    def read(self) -> Iterator[Frames]:
        """One turn after the other."""
        if self.turns:
            yield self.turns.pop(0)

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True

    def complete(self) -> bool:
        """Whether nothing waits."""
        return not self.turns

    def dropped(self) -> int:
        """As it was told."""
        return self.lost

    def close(self) -> None:
        """Nothing to let go."""


Capture = Callable[..., tuple[Outcome, bytes]]


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    """Record what these sources hear into a file; what came of it, and the file."""

    def run(*sources: FakeSource, limits: Limits = Limits()) -> tuple[Outcome, bytes]:  # noqa: B008
        path = tmp_path / "file.pcapng"
        path.write_bytes(b"what was in it before" * 100)
        descriptor = os.open(path, os.O_WRONLY)
        try:
            outcome = record(sources, PacketOptions(), Output(descriptor), limits, asked_to_end=lambda: True)
        finally:
            os.close(descriptor)
        return outcome, path.read_bytes()

    return run


def at_times(*times_ns: int) -> Frames:
    """A packet at each of these times, with the time as its bytes."""
    return Frames.of([b"%d" % each for each in times_ns], [9] * len(times_ns), times_ns, [0] * len(times_ns))


def test_packets_of_all_interfaces_are_in_the_order_of_time(capture: Capture) -> None:
    """Whichever interface is read first, and in whichever turn: the file has packets as they went by."""
    first, second = (
        FakeSource(each, turns) for each, turns in zip(INTERFACES, ([at_times(1, 5)], [at_times(2, 3, 4)]), strict=True)
    )
    outcome, data = capture(first, second)
    assert [payload for payload, _ in read(data)] == [b"1", b"2", b"3", b"4", b"5"]
    assert [(each.name, each.packets) for each in outcome.interfaces] == [
        ("eni-private-a:svc", 2),
        ("natgw (dropped)", 3),
    ]
    assert (outcome.end, first.ended, second.ended) == (End.ASKED, True, True)


def test_a_count_is_kept(capture: Capture) -> None:
    """`--count` packets are in the file, the first ones, and no more."""
    outcome, data = capture(*(FakeSource(each, [at_times(1, 3, 5)]) for each in INTERFACES), limits=Limits(packets=3))
    assert [payload for payload, _ in read(data)] == [b"1", b"1", b"3"]
    assert (outcome.end, outcome.packets) == (End.COUNT, 3)


def test_what_there_was_no_room_for_is_told(capture: Capture) -> None:
    """What was dropped is counted for its interface, in the outcome and in the file."""
    outcome, data = capture(FakeSource(INTERFACES[0], [at_times(1)], lost=0x1234), FakeSource(INTERFACES[1], []))
    assert [each.dropped for each in outcome.interfaces] == [0x1234, 0]
    assert outcome.dropped == 0x1234
    isb_ifdrop = 5
    assert data.count(struct.pack("=HHQ", isb_ifdrop, 8, 0x1234)) == 1


def test_nowhere_to_write() -> None:
    """A full disk ends a capture with its reason, and so does a reader that has gone."""
    source = FakeSource(INTERFACES[0], [at_times(1)])
    full = os.open("/dev/full", os.O_WRONLY)
    outcome = record([source], PacketOptions(), Output(full), asked_to_end=lambda: False)
    os.close(full)
    assert (outcome.end, outcome.packets) == (End.NO_ROOM, 0)
    reader, writer = os.pipe()
    os.close(reader)
    outcome = record([source], PacketOptions(), Output(writer), asked_to_end=lambda: False)
    os.close(writer)
    assert outcome.end is End.NOBODY_READS


def test_a_reader_that_goes_while_nothing_happens() -> None:
    """A capture without packets ends as well when nobody reads any more."""
    reader, writer = os.pipe()
    readers = [reader]

    def leave() -> bool:
        while readers:
            os.close(readers.pop())
        return False

    outcome = record(
        [FakeSource(INTERFACES[0], [])], PacketOptions(), Output(writer), Limits(seconds=5), asked_to_end=leave
    )
    os.close(writer)
    assert outcome.end is End.NOBODY_READS


# ── Where to listen ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_whole_path(path: Path) -> None:
    """Without a node, each end of each link is captured once, but for those of the bridge in the service VPC."""
    plan = build(load(path))
    places = all_interfaces(plan)
    ends = {
        (end.namespace, end.interface)
        for each in plan.objects
        if isinstance(each, VethPair)
        for end in (each.a, each.b)
    }
    bridged = {(each.namespace, each.interface) for each in plan.objects if isinstance(each, BridgePort)}
    assert {(node.namespace, interface) for node, interface in places} == ends - bridged
    assert len(places) == len(ends - bridged)


def test_places_that_are_not_there() -> None:
    """An interface that a node has not, and a node that refuses nothing, are told with what there is instead."""
    plan = build(load(next(path for path in SHIPPED if path.stem == "tiny")))
    natgw, vpc = (next(node for node in plan.nodes if node.name == name) for name in ("natgw", "vpc"))
    assert [each.interface for each in node_interfaces(plan, natgw)] == ["vpc", "inet"]
    assert [each.interface for each in node_interfaces(plan, natgw, "inet")] == ["inet"]
    with pytest.raises(UsageError, match=r"^no interface 'svc' in node natgw; known: vpc, inet$"):
        node_interfaces(plan, natgw, "svc")
    assert require_limiting(plan, natgw) is natgw
    with pytest.raises(UsageError, match=r"node vpc has no limit .*: eni-private-a, eni-private-b, natgw$"):
        require_limiting(plan, vpc)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "Missing option '-w'"),
        (("-w", "x", "--dropped", "--filter", "tcp"), "--filter and --dropped: "),
        (("-w", "x", "--seconds", "nan"), "--seconds nan: more than 0"),
        (("-w", "x", "--count", "0"), "'--count'"),
        (("-w", "-", "--json"), "--json and -w -: both are for standard output"),
    ],
)
def test_options_that_make_no_sense(run: Run, words: tuple[str, ...], fault: str) -> None:
    """They end with status 2 and a sentence, before a lab is looked for."""
    status, out, err = run("capture", *words)
    assert (status, out) == (2, "")
    assert fault in err
