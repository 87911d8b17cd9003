"""The samples of a lab as its collector keeps them: one JSON line each, in a few files of bounded size.

A sample that says the same as the one before is not written until something changes: then it is, as the moment up to
which nothing had. So a lab without traffic takes no room, and differences of samples miss nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
import errno
import os
from pathlib import Path
from typing import IO

from lab.kernel.record_files import opener
from lab.observe.samples import Sample

__all__ = ["History", "read"]

_FILES = 3
_FILE_BYTES = 16 << 20
"""A second of a busy lab with eight NAT nodes takes some 5 kB: one file is an hour of that."""


class History:
    """The files in the directory that a collector writes to."""

    def __init__(self, directory: Path, file_bytes: int = _FILE_BYTES) -> None:
        self._directory, self._file_bytes = directory, file_bytes
        self._last: Sample | None = None
        self._unwritten = False
        """Whether the last one is still to be written, once something has changed."""

    def add(self, sample: Sample) -> None:
        """Write the next sample. OSError when there is no room for it, or the directory is gone."""
        if self._last is not None and sample.nodes == self._last.nodes:
            self._last, self._unwritten = sample, True
            return
        lines = [sample.to_json()]
        if self._last is not None and self._unwritten:
            lines.insert(0, self._last.to_json())
        full = self._write("".join(f"{line}\n" for line in lines).encode())
        if full:
            self._rotate()
        self._last, self._unwritten = sample, False

    def _write(self, text: bytes) -> bool:
        """Whether the file is full then. One write: a process that is ended, or finds no room, leaves whole lines."""
        with open(_file(self._directory, 0), "ab", buffering=0, opener=opener) as newest:
            before = newest.tell()
            if newest.write(text) < len(text):
                newest.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), newest.name)
            return newest.tell() > self._file_bytes

    def _rotate(self) -> None:
        for number in reversed(range(_FILES - 1)):
            if _file(self._directory, number).exists():
                _file(self._directory, number).replace(_file(self._directory, number + 1))


def read(directory: Path) -> Iterator[Sample]:
    """All samples that are kept, the oldest first; a line that is damaged is left out."""
    with ExitStack() as files:
        opened: dict[int, IO[str]] = {}
        for number in range(_FILES):  # the newest first: what is renamed meanwhile is then found twice, not missed
            with suppress(FileNotFoundError):
                path = _file(directory, number)
                file = files.enter_context(open(path, encoding="utf-8", errors="replace", opener=opener))
                opened.setdefault(os.fstat(file.fileno()).st_ino, file)
        for lines in reversed(opened.values()):
            for line in lines:
                with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    yield Sample.from_json(line)


def _file(directory: Path, number: int) -> Path:
    """Number 0 is the one that is written."""
    return directory / f"samples.{number}.jsonl"
