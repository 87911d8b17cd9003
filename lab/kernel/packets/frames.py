"""Frames, thousands at a time: their bytes in one buffer, what is known of each in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["WORD_BYTES", "Frames"]

WORD_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Some frames; entry i of every array is about frame i."""

    words: NDArray[np.uint32]
    """A buffer that has all of their bytes, each frame from a word's first byte on."""
    start: NDArray[np.int64]
    """The first word of each."""
    captured: NDArray[np.uint32]
    """How many bytes of it there are."""
    original: NDArray[np.uint32]
    """How many bytes it had on the wire."""
    at_ns: NDArray[np.uint64]
    """When each frame passed, in Unix time."""
    kind: NDArray[np.uint16]
    """What its source says of it, as a number: its packet type, or why it was dropped."""
    interface: NDArray[np.uint32]
    """Number of the interface of each frame."""

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Self:
        """Some of them, or all in another order, in the same buffer."""
        return type(self)(
            self.words,
            self.start[which],
            self.captured[which],
            self.original[which],
            self.at_ns[which],
            self.kind[which],
            self.interface[which],
        )

    @classmethod
    def merged(cls, several: Sequence[Self]) -> Self:
        """All of them in the order of time, in one buffer."""
        offsets = np.cumsum([0, *(len(frames.words) for frames in several)])
        starts = [frames.start + offset for frames, offset in zip(several, offsets, strict=False)]
        every = cls(
            np.concatenate([_NO_WORDS, *(frames.words for frames in several)]),
            np.concatenate([_NOWHERE, *starts]),
            np.concatenate([_NO_WORDS, *(frames.captured for frames in several)]),
            np.concatenate([_NO_WORDS, *(frames.original for frames in several)]),
            np.concatenate([_NO_TIMES, *(frames.at_ns for frames in several)]),
            np.concatenate([_NO_KINDS, *(frames.kind for frames in several)]),
            np.concatenate([_NO_WORDS, *(frames.interface for frames in several)]),
        )
        return every.take(np.argsort(every.at_ns, kind="stable"))

    @classmethod
    def of(cls, payloads: Sequence[bytes], original: ArrayLike, at_ns: ArrayLike, kind: ArrayLike) -> Self:
        """Frames that come one by one; the other arguments have a number for each."""
        padded = b"".join(payload + bytes(-len(payload) % WORD_BYTES) for payload in payloads)
        captured = np.array([len(payload) for payload in payloads], np.uint32)
        ends = np.cumsum(-(-captured.astype(np.int64) // WORD_BYTES))
        return cls(
            np.frombuffer(padded, np.uint32),
            np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(payloads)],
            captured,
            np.array(original, np.uint32),
            np.array(at_ns, np.uint64),
            np.array(kind, np.uint16),
            np.zeros(len(payloads), np.uint32),
        )

    def at(self, interface: int) -> Self:
        """These frames as those of the interface with that number."""
        return replace(self, interface=np.full(len(self), interface, np.uint32))


_NO_WORDS, _NO_TIMES = np.zeros(0, np.uint32), np.zeros(0, np.uint64)
_NOWHERE, _NO_KINDS = np.zeros(0, np.int64), np.zeros(0, np.uint16)
