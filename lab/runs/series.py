"""The samples of one burst as a record keeps them: as dense as they come, or thinned where there would be too many."""

from __future__ import annotations

from collections.abc import Iterator

from lab.observe.samples import Sample

__all__ = ["Series"]

_MOST = 4_096
"""Five a second are a quarter of an hour; of a lab with eight NAT nodes they are some 20 MB."""


class Series:
    """Samples in the order of time; all of them count from `up` on, so one that is left out takes nothing with it."""

    def __init__(self, most: int = _MOST) -> None:
        self._kept: list[Sample] = []
        self._most, self._every_s = most, 0.0
        self._last: Sample | None = None
        """The latest, if it is not among those kept."""

    def add(self, sample: Sample) -> None:
        """Take the next sample; when there are too many, every other one is dropped, and as many of those to come."""
        if self._kept and sample.at_s < self._kept[-1].at_s + self._every_s:
            self._last = sample
            return
        self._kept.append(sample)
        self._last = None
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._last = None if self._kept[-1] is sample else sample
            self._every_s = (sample.at_s - self._kept[0].at_s) / (len(self._kept) - 1)

    def __iter__(self) -> Iterator[Sample]:
        yield from self._kept
        if self._last is not None:
            yield self._last
