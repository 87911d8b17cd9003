"""Reads a topology file; every fault in it becomes one line, in the order of the file."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from lab.errors import TopologyError, escaped
from lab.schema.faults import Fault, Place, dotted
from lab.schema.sentences import faults_of
from lab.topology.checks import check
from lab.topology.document import Document, Unreadable, Value, read
from lab.topology.draft import draft
from lab.topology.model import Topology
from lab.topology.unused import unused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

__all__ = ["Loaded", "load", "load_text", "loaded", "text_of"]

START = Place(1, 1)
WANTED = "a topology is a mapping that opens with `version: 1` and `name:`"

LARGEST_BYTES = 256 * 1024
"""Ten times as much as the largest topology needs. YAML's parser takes some seconds for it."""

YAML_FIRST = "until this is YAML, nothing else in the file is checked"


class Loaded(NamedTuple):
    """A topology, and what in its file has no effect."""

    topology: Topology
    without_effect: tuple[str, ...]
    """A line for each part, `FILE:LINE:COLUMN: path: why; what to do`, in the order of the file."""


def load(path: str | PathLike[str]) -> Topology:
    """The topology in a file; raises `TopologyError` with all faults at once."""
    return load_text(text_of(path), str(path))


def text_of(path: str | PathLike[str]) -> str:
    """The text of a topology file, which is UTF-8; TopologyError when it cannot be read or is not."""
    name = str(path)
    try:
        content = _content(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(name, START, "file", f"cannot be read: {reason}; give the path of a topology file") from None
    if len(content) > LARGEST_BYTES:
        text = f"has more than {LARGEST_BYTES:,} bytes, the most that is read; a topology of 148 functions has 20,000"
        raise _error(name, START, "file", text)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        text = f"the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _error(name, _place_of_byte(content, error.start), "file", text) from None


def _content(path: str | PathLike[str]) -> bytes:
    """The first bytes of a regular file, or of a pipe that this process was started with (`lab up <(…)`).

    A device has no end, and any other FIFO may never have a writer.
    """
    given = re.fullmatch(r"/dev/stdin|/(dev|proc/self)/fd/\d+", str(path)) is not None
    waiting = 0 if given else os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | waiting)) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(mode) or (given and stat.S_ISFIFO(mode))):
            raise ValueError("it is not a regular file")
        return file.read(LARGEST_BYTES + 1)


def load_text(text: str, name: str = "topology.yaml") -> Topology:
    """The topology in a YAML text that errors call `name`."""
    return loaded(text, name).topology


def loaded(text: str, name: str) -> Loaded:
    """The topology in a YAML text that errors call `name`, and what in the text has no effect."""
    try:
        document = read(text)
    except Unreadable as error:
        raise _error(name, error.place, "syntax", f"{error}; {YAML_FIRST}") from None
    if document.value is None:
        raise _error(name, START, "file", f"is empty; {WANTED}")
    topology, faults = _judge(document.value)
    lines = _lines(name, document, (*document.faults, *faults))
    if topology is None or lines:
        raise TopologyError("\n".join(lines))
    return Loaded(topology, _lines(name, document, unused(draft(document.value))))


def _judge(value: Value) -> tuple[Topology | None, tuple[Fault, ...]]:
    """The topology, if every field is valid, and all that is wrong with the fields and between them."""
    between = check(draft(value))
    try:
        return Topology.model_validate(value, by_alias=True, by_name=False), between
    except ValidationError as error:
        return None, (*faults_of(error, Topology), *between)


def _lines(name: str, document: Document, faults: Iterable[Fault]) -> tuple[str, ...]:
    placed = sorted(((document.place_of(fault), fault) for fault in faults), key=lambda pair: pair[0])
    return tuple(_line(name, place, dotted(fault.path), fault.text) for place, fault in placed)


def _place_of_byte(content: bytes, offset: int) -> Place:
    before = content[:offset]
    return Place(before.count(b"\n") + 1, offset - before.rfind(b"\n"))


def _error(name: str, place: Place, path: str, text: str) -> TopologyError:
    return TopologyError(_line(name, place, path, text))


def _line(name: str, place: Place, path: str, text: str) -> str:
    return escaped(f"{name}:{place.line}:{place.column}: {path}: {text}")
