"""A capture from its first packet to its last: the packets of all sources, in the order of time, into one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
import os
import select
import time
from typing import Any, NamedTuple

import numpy as np

from lab.capture import pcapng
from lab.capture.sources import PacketOptions, PacketSource
from lab.kernel.netns import NETNS_DIRECTORY
from lab.kernel.packets.frames import Frames
from lab.kernel.packets.ring import LATEST_S

__all__ = ["Cut", "End", "InterfaceOutcome", "Limits", "Outcome", "Output", "record"]

_READ_EVERY_S = 0.05
_CHECK_EVERY_S = 0.2
"""How often progress is reported, and it is checked whether the nodes and the file's reader are still there."""
_PATIENCE_S = 3 * LATEST_S
"""How long a packet waits for earlier ones from elsewhere."""
_LAST_PACKETS_WITHIN_S = 1.0
_AT_ONCE = 16_384
"""Packets for which blocks are made at a time."""
_NS = 1_000_000_000


class End(Enum):
    """Why a capture ended."""

    ASKED = "stopped"
    COUNT = "that is the count"
    SECONDS = "the time is up"
    GONE = "the lab was taken down meanwhile"
    NOBODY_READS = "the program that read the packets has ended"
    NO_ROOM = "no more could be written"


class Limits(NamedTuple):
    """When a capture ends by itself."""

    packets: int | None = None
    seconds: float | None = None


_NO_LIMITS = Limits()


class InterfaceOutcome(NamedTuple):
    """How many packets of one interface are in the file, and how many are missing."""

    node: str
    kind: str
    name: str
    packets: int
    """Packets of this interface in the file."""
    dropped: int
    """Packets that the kernel dropped because the ring had no room for them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a capture."""

    end: End
    interfaces: tuple[InterfaceOutcome, ...]
    refusal: OSError | None = None
    """Why no more could be written."""
    gone: tuple[str, ...] = ()
    """Nodes that were taken away meanwhile."""

    @property
    def packets(self) -> int:
        """How many there are in the file."""
        return sum(interface.packets for interface in self.interfaces)

    @property
    def dropped(self) -> int:
        """How many there was no room for."""
        return sum(interface.dropped for interface in self.interfaces)

    def to_json(self, file: str) -> dict[str, Any]:
        """The document of `lab capture --json`, of a capture into this file."""
        return {
            "file": file,
            "end": self.end.name.lower(),
            "packets": self.packets,
            "missed_packets": self.dropped,
            "interfaces": [
                {
                    "name": interface.name,
                    "node": interface.node,
                    "kind": interface.kind,
                    "packets": interface.packets,
                    "missed_packets": interface.dropped,
                }
                for interface in self.interfaces
            ],
            "nodes_gone": list(self.gone),
        }


class Cut(Exception):  # noqa: N818  # an end, not an error
    """No more could be written; the file ends with a whole block."""

    def __init__(self, written: int, refusal: OSError) -> None:
        super().__init__(written, refusal)
        self.written, self.refusal = written, refusal
        """How many of the blocks are in the file, and why not all."""


class Output:
    """What is written to; however it ends, it ends with a whole block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._bytes = descriptor, 0

    def clear(self) -> None:
        """Forget what was in the file."""
        with suppress(OSError):  # a pipe, or a device
            os.ftruncate(self._descriptor, 0)

    def is_abandoned(self) -> bool:
        """Whether it is a pipe whose reading end is closed (poll(2), POLLERR)."""
        poll = select.poll()
        poll.register(self._descriptor, 0)
        return any(happened & select.POLLERR for _, happened in poll.poll(0))

    def write(self, blocks: bytes | memoryview) -> None:
        """Write whole blocks; Cut where not all of them could be written."""
        done, data = 0, memoryview(blocks).cast("B")
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as refusal:
            written, whole = pcapng.whole_blocks(bytes(data[:done]))
            with suppress(OSError):  # what a pipe has taken it keeps
                os.ftruncate(self._descriptor, self._bytes + whole)
            raise Cut(written, refusal) from refusal
        self._bytes += done


def record(
    sources: Sequence[PacketSource],
    options: PacketOptions,
    output: Output,
    limits: Limits = _NO_LIMITS,
    *,
    about: str = "",
    asked_to_end: Callable[[], bool],
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Write the packets of these sources until the end is asked for, or comes by itself.

    `about` is a comment on the whole file; `progress` is told the number of packets so far.
    """
    recording = _Recording(sources, options, output, limits)
    try:
        recording.begin(about)
        end = recording.listen(asked_to_end, progress)
        recording.finish(end)
    except Cut as cut:
        nobody_reads = isinstance(cut.refusal, BrokenPipeError)
        return recording.outcome(End.NOBODY_READS if nobody_reads else End.NO_ROOM, cut.refusal)
    return recording.outcome(end)


class _Recording:
    """The packets that are still to be written, and how many are in the file."""

    def __init__(self, sources: Sequence[PacketSource], options: PacketOptions, output: Output, limits: Limits) -> None:
        self._sources, self._options, self._output, self._limits = sources, options, output, limits
        self._waiting: list[Frames] = []
        self._written = np.zeros(len(sources), np.int64)
        self._namespaces = {source.node.namespace: _identity(source.node.namespace) for source in sources}
        self._active = dict(enumerate(sources))
        self._began_ns = 0

    @property
    def packets(self) -> int:
        return int(self._written.sum())

    def begin(self, about: str) -> None:
        self._began_ns = time.time_ns()
        system = f"{os.uname().sysname} {os.uname().release}"
        self._output.clear()
        self._output.write(pcapng.header("lab capture", system, (source.described for source in self._sources), about))

    def listen(self, asked_to_end: Callable[[], bool], progress: Callable[[int], None]) -> End:
        began_s = checked_s = time.monotonic()
        while True:
            self._read_and_write(time.time_ns() - int(_PATIENCE_S * _NS))
            now_s = time.monotonic()
            if self._is_full():
                return End.COUNT
            if asked_to_end():
                return End.ASKED
            if self._limits.seconds is not None and now_s >= began_s + self._limits.seconds:
                return End.SECONDS
            if now_s >= checked_s + _CHECK_EVERY_S:
                checked_s = now_s
                progress(self.packets)
                self._end_vanished()
                if not self._active:
                    return End.GONE
                if self._output.is_abandoned():
                    return End.NOBODY_READS
            time.sleep(_READ_EVERY_S)

    def finish(self, end: End) -> None:
        """Write all packets up to now, those that wait in the kernel as well."""
        for source in self._active.values():
            source.end()
        if end is not End.COUNT:
            self._read_to_the_end(self._active)
            self._read_and_write(None)
        now_ns = time.time_ns()
        for number, source in enumerate(self._sources):
            seen = pcapng.Statistics(self._began_ns, now_ns, int(self._written[number]), source.dropped())
            self._output.write(pcapng.statistics(number, seen))

    def outcome(self, end: End, refusal: OSError | None = None) -> Outcome:
        interfaces = tuple(
            InterfaceOutcome(source.node.name, source.node.kind, source.described.name, int(written), source.dropped())
            for source, written in zip(self._sources, self._written, strict=True)
        )
        gone = [source.node.name for number, source in enumerate(self._sources) if number not in self._active]
        return Outcome(end, interfaces, refusal, tuple(dict.fromkeys(gone)))

    def _read_and_write(self, until_ns: int | None) -> None:
        """Read what there is, and write what nothing earlier can come before any more: all of it, without a time."""
        self._read(self._active)
        if until_ns is None:
            ready, self._waiting = self._waiting, []
        else:
            early = [frames.at_ns < until_ns for frames in self._waiting]
            ready = [frames.take(which) for frames, which in zip(self._waiting, early, strict=True)]
            later = (frames.take(~which) for frames, which in zip(self._waiting, early, strict=True) if not which.all())
            self._waiting = list(later)
        frames = Frames.merged([some for some in ready if len(some)])
        if self._limits.packets is not None:
            frames = frames.take(slice(self._limits.packets - self.packets))
        self._write(frames)

    def _read(self, sources: Mapping[int, PacketSource]) -> None:
        for number, source in sources.items():
            self._waiting += (frames.at(number) for frames in source.read())

    def _write(self, frames: Frames) -> None:
        for first in range(0, len(frames), _AT_ONCE):
            some = frames.take(slice(first, first + _AT_ONCE))
            try:
                self._output.write(pcapng.packets(some, self._options.encoded).data)
            except Cut as cut:
                self._count(some.take(slice(cut.written)))
                raise
            self._count(some)

    def _count(self, frames: Frames) -> None:
        self._written += np.bincount(frames.interface, minlength=len(self._sources))

    def _is_full(self) -> bool:
        return self._limits.packets is not None and self.packets >= self._limits.packets

    def _read_to_the_end(self, sources: Mapping[int, PacketSource]) -> None:
        deadline_s = time.monotonic() + _LAST_PACKETS_WITHIN_S
        while True:
            self._read(sources)
            if all(source.complete() for source in sources.values()) or time.monotonic() > deadline_s:
                return
            time.sleep(_READ_EVERY_S)

    def _end_vanished(self) -> None:
        """Close the sources whose nodes were taken away: a namespace without a name lives on while it has a socket."""
        gone = {
            number: source
            for number, source in self._active.items()
            if (now := _identity(source.node.namespace)) == 0 or now != self._namespaces[source.node.namespace]
        }
        for number, source in gone.items():
            source.end()
            del self._active[number]
        self._read_to_the_end(gone)
        for source in gone.values():
            source.close()


def _identity(namespace: str) -> int:
    """What tells a namespace from a later one of the same name; 0 when there is none."""
    try:
        return (NETNS_DIRECTORY / namespace).stat().st_ino
    except FileNotFoundError:
        return 0
