"""What captures hear in throwaway namespaces: packet rings at a link, filters, the packets that a ruleset logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import errno
import os
import socket
import time
from typing import NamedTuple

import pytest

from lab.errors import UsageError
from lab.kernel.netfilter import nflog
from lab.kernel.netfilter.nflog import Logged, LogGroup
from lab.kernel.nft import apply_text
from lab.kernel.packets.bpf import Program, compiled, everything, nothing, without_others
from lab.kernel.packets.frames import WORD_BYTES, Frames
from lab.kernel.packets.ring import PacketRing
from lab.kernel.rtnl import wait_until_up
from lab.plan.objects import VethPair
from tests.support.labs import eventually
from tests.support.machine import ip, require_machine
from tests.support.throwaway import Throwaway

ETHERTYPE = 0x88B5  # for local experiments (IEEE 802)
INCOMING, FOR_ANOTHER, OUTGOING = 0, 3, 4
GROUP = 1


def ours(snap_bytes: int = 262_144) -> Program:
    """Only these tests' own frames: the kernel has something to say over IPv6."""
    return ((0x28, 0, 0, 12), (0x15, 0, 1, ETHERTYPE), *everything(snap_bytes), *nothing)


class Link:
    """A veth pair, what is sent at its left end, and rings that listen."""

    def __init__(self, namespaces: Throwaway) -> None:
        self._namespaces = namespaces
        self.pair: VethPair = namespaces.pair()
        # Until the kernel has seen the carrier, what is sent goes nowhere (link_watch.c).
        wait_until_up(namespaces, (self.pair.a.namespace, self.pair.b.namespace))
        self._open: list[PacketRing] = []

    def ring(self, *, left: bool = False, program: Program | None = None, blocks: int = 8) -> PacketRing:
        """A ring at the right end, or at the left one."""
        end = self.pair.a if left else self.pair.b
        self._open.append(self._namespaces[end.namespace].run(PacketRing, end.interface, program or ours(), blocks))
        return self._open[-1]

    def send(self, *payloads: bytes, to: str = "") -> list[bytes]:
        """Send a frame with each of these at the left end, to the right one unless told; the frames."""
        addresses = bytes.fromhex((to or self.pair.b.mac).replace(":", "") + self.pair.a.mac.replace(":", ""))
        frames = [addresses + ETHERTYPE.to_bytes(2) + each for each in payloads]
        self._namespaces[self.pair.a.namespace].run(_send, self.pair.a.interface, frames)
        return frames

    def close(self) -> None:
        """Close the rings."""
        for each in self._open:
            each.close()


def _send(interface: str, frames: list[bytes]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            sender.send(frame)


@pytest.fixture
def link(namespaces: Throwaway) -> Iterator[Link]:
    """A link between two namespaces."""
    made = Link(namespaces)
    yield made
    made.close()


def bytes_of(frames: Frames) -> list[bytes]:
    """Each frame's own bytes."""
    octets = frames.words.tobytes()
    starts = (frames.start * WORD_BYTES).tolist()
    return [octets[at : at + n] for at, n in zip(starts, frames.captured.tolist(), strict=True)]


def all_of(ring: PacketRing) -> Frames:
    """Everything that a ring has heard up to now."""
    heard: list[Frames] = []

    def is_all() -> bool:
        heard.extend(ring.read())
        return sum(map(len, heard)) >= ring.count().taken

    ring.end()
    assert eventually(is_all)
    return Frames.merged(heard)


def test_every_frame_as_it_was(link: Link) -> None:
    """Frames of every length come whole, in order, on word boundaries, with times that do not go back."""
    ring = link.ring()
    sent = link.send(*(bytes([length % 251]) * length for length in range(46, 1501)))
    heard = all_of(ring)
    assert bytes_of(heard) == sent
    assert heard.original.tolist() == [len(each) for each in sent]
    assert (heard.at_ns[1:] >= heard.at_ns[:-1]).all()
    assert set(heard.kind.tolist()) == {INCOMING}
    assert ring.count() == (len(sent), 0)


def test_frames_of_64_kib(link: Link) -> None:
    """A frame that no network card has cut yet comes whole, behind and before shorter ones."""
    for end in (link.pair.a, link.pair.b):
        ip("link", "set", "mtu", "65535", "dev", end.interface, namespace=end.namespace)
    ring = link.ring()
    sent = link.send(*(bytes(range(250)) * 262 if number % 2 else b"short" * 20 for number in range(9)))
    assert bytes_of(all_of(ring)) == sent


def test_both_ends_of_a_link(link: Link) -> None:
    """A frame goes out at one end and comes in at the other, in this order of time."""
    left, right = link.ring(left=True), link.ring()
    link.send(bytes(100))
    both = Frames.merged([all_of(right).at(1), all_of(left).at(0)])
    assert list(zip(both.interface.tolist(), both.kind.tolist(), strict=True)) == [(0, OUTGOING), (1, INCOMING)]


def test_frames_for_other_stations(link: Link) -> None:
    """What a bridge would flood is heard and marked, or not heard at all."""
    with_them, without = link.ring(), link.ring(program=without_others(ours()))
    link.send(b"theirs" * 10, to="02:00:00:00:00:99")
    (own,) = link.send(b"ours" * 20)
    assert all_of(with_them).kind.tolist() == [FOR_ANOTHER, INCOMING]
    assert bytes_of(all_of(without)) == [own]


def test_only_the_beginning_of_each_frame(link: Link) -> None:
    """A snapshot length cuts frames off, and their length on the wire is known all the same."""
    ring = link.ring(program=ours(33))
    (sent,) = link.send(bytes(range(100)))
    heard = all_of(ring)
    assert bytes_of(heard) == [sent[:33]]
    assert heard.original.tolist() == [len(sent)]


def test_a_ring_without_room(link: Link) -> None:
    """What nobody reads in time is counted: frames that were taken and frames that were not are all there were."""
    ring = link.ring(blocks=1)
    link.send(*[bytes(1400)] * 400)
    heard = all_of(ring)
    assert 100 < len(heard) < 400
    assert ring.count() == (len(heard), 400 - len(heard))
    ring.close()
    assert ring.count() == (len(heard), 400 - len(heard))


def test_a_filter_in_tcpdumps_words(link: Link) -> None:
    """The kernel runs what tcpdump has compiled, behind the rule that others' frames are not heard."""
    require_machine("tcpdump")
    ring = link.ring(program=without_others(compiled("ether[14] = 7", 50)))
    _, matching = link.send(b"\x06" * 60, b"\x07" * 60)
    assert bytes_of(all_of(ring)) == [matching[:50]]


def test_a_filter_that_is_none() -> None:
    """The words of tcpdump say what is wrong; a name is not looked up: whoever asks has no network."""
    require_machine("tcpdump")
    with pytest.raises(UsageError, match=r"^--filter 'tcp prt 443': can't parse filter expression: syntax error$"):
        compiled("tcp prt 443", 96)
    with pytest.raises(UsageError, match=r"unknown host 'cache\.example\.com'"):
        compiled("host cache.example.com", 96)


# ── What a ruleset logs ─────────────────────────────────────────────────────────────────────────────────────

LOGGING = f"""\
table ip t {{
  chain out {{
    type filter hook output priority filter; policy accept;
    udp dport 9 log prefix "to_nine" group {GROUP}
    udp dport 7 log prefix "to_seven" group {GROUP}
  }}
}}
"""


class Logging(NamedTuple):
    """A namespace whose ruleset logs datagrams."""

    namespaces: Throwaway
    name: str
    groups: list[LogGroup]

    def listen(self, snap_bytes: int = 1000) -> LogGroup:
        """Listen to its group."""
        self.groups.append(self.namespaces[self.name].run(LogGroup, GROUP, snap_bytes))
        return self.groups[-1]

    def send(self, *ports: int) -> None:
        """Send a datagram of 100 bytes to each of these ports."""
        self.namespaces[self.name].run(_datagrams, ports)


def _datagrams(ports: Iterable[int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in ports:
            sender.sendto(b"%04d" % port * 25, ("127.0.0.1", port))


@pytest.fixture
def logging(namespaces: Throwaway) -> Iterator[Logging]:
    """Such a namespace; who has listened does not any more after the test."""
    name = namespaces.new()
    apply_text(namespaces[name], LOGGING)
    made = Logging(namespaces, name, [])
    yield made
    for group in made.groups:
        group.close()


def end(group: LogGroup) -> list[Logged]:
    """What has been logged, to the last packet: the kernel lets go of what it has gathered."""
    group.end()
    return list(group.read())


def test_logged_packets(logging: Logging) -> None:
    """Each packet comes with its rule's prefix, its time and its bytes, from the IP header on."""
    before_ns = time.time_ns()
    group = logging.listen()
    logging.send(9, 7, 11, 9)
    found = end(group)
    assert [each.prefix for each in found] == ["to_nine", "to_seven", "to_nine"]
    assert [each.payload[28:32] for each in found] == [b"0009", b"0007", b"0009"]
    assert {(each.original, len(each.payload), each.payload[0]) for each in found} == {(128, 128, 0x45)}
    assert before_ns - 1000 <= found[0].at_ns <= found[-1].at_ns <= time.time_ns()
    assert group.dropped == 0


def test_only_the_beginning_of_logged_packets(logging: Logging) -> None:
    """With a snapshot length, the length of a packet is read from its IP header."""
    group = logging.listen(snap_bytes=40)
    logging.send(9)
    (found,) = end(group)
    assert (len(found.payload), found.original) == (40, 128)


def test_a_group_has_one_listener(logging: Logging) -> None:
    """A second one is refused; once the first has gone, there is room."""
    group = logging.listen()
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        logging.listen()
    group.close()
    logging.listen()


def test_logged_packets_without_room(logging: Logging, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit into the socket is counted by the gap that it leaves."""
    monkeypatch.setattr(nflog, "_RECEIVE_BYTES", 1 << 17)
    group = logging.listen()
    logging.send(*[9] * 6000)
    found = len(list(group.read()))
    assert group.dropped == 1  # or more: the kernel has not said how many
    logging.send(9)
    found += len(end(group))
    assert 0 < found < 6001
    assert found + group.dropped == 6001
