"""Standard streams that are closed, whose reader ends early, or whose encoding lacks the lab's characters."""

from __future__ import annotations

import codecs
import errno
from io import BufferedWriter, FileIO, TextIOWrapper
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["OUTPUT_LOST", "finish", "prepare", "refusal"]

OUTPUT_LOST = 5
"""The exit status of a command that did what it was to do, and whose output could not be written."""

_SUBSTITUTES = {
    ord(character): substitute
    for characters, substitute in (
        ("─━╌┄═\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}", "-"),
        ("│┃╎┆║", "|"),
        ("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┡┩╞╡╪┢┪╇", "+"),
        ("█▉▊▋▌▍▎▏▇▆▅▄▃▂▁", "#"),
        ("→▶►", ">"),
        ("←◀", "<"),
        ("↑▲", "^"),
        ("↓▼", "v"),
        ("…·", "."),
        ("•", "*"),
        ("\N{MULTIPLICATION SIGN}", "x"),
        ("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    )
    for character in characters
}
"""Character → another one of the same width, so that drawings and tables keep their columns."""


class _Output(FileIO):
    """A descriptor that takes what it can: a command is not undone, nor its undo cut short, because nobody reads it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.refusal: OSError | None = None
        """Why something could not be written, the first time."""

    def write(self, data: Buffer, /) -> int:
        """Write, or drop what the descriptor refuses."""
        try:
            return super().write(data)
        except OSError as refusal:
            self.refusal = self.refusal or refusal
            return memoryview(data).nbytes


def prepare() -> None:
    """Give each standard stream a descriptor, and each character that its encoding does not have a substitute.

    The next file that is opened would get a closed descriptor's number, and with it what is printed.
    """
    codecs.register_error("lab.substitute", _substitute)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    if sys.stdout is sys.__stdout__:  # and not one that a test reads
        sys.stdout = _text(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr)


def _text(descriptor: int, before: TextIO | None) -> TextIO:
    output = _Output(descriptor)
    encoding = before.encoding if before else "utf-8"
    lines = descriptor == 2 or output.isatty()  # noqa: PLR2004 -- standard error, as Python has it
    return TextIOWrapper(BufferedWriter(output), encoding, "lab.substitute", line_buffering=lines)


def refusal() -> OSError | None:
    """Why standard output could not be written, such as that its reader has closed the pipe; None if it could."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.refusal if isinstance(raw, _Output) else None


def finish(status: int) -> int:
    """Write what is left; the exit status of a command that would end with this one.

    A reader that leaves, as `head` does, has what it wants; output that is lost otherwise is not to be relied on.
    """
    lost = refusal()
    if lost is not None and lost.errno != errno.EPIPE:
        sys.stderr.write(f"standard output cannot be written: {lost.strerror}; what the command has done stays done\n")
        status = status or OUTPUT_LOST
    sys.stderr.flush()
    return status


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_SUBSTITUTES)
    return text.encode("ascii", "replace").decode("ascii"), error.end
