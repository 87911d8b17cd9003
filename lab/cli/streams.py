"""Standard streams that are closed, whose reader ends early, or whose encoding lacks the lab's characters."""

from __future__ import annotations

import codecs
from contextlib import suppress
from io import TextIOWrapper
import os
import sys

__all__ = ["finish", "prepare"]

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
    sys.stdout, sys.stderr = (
        stream or open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 -- it stays open
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr))
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="lab.substitute")


def finish() -> None:
    """Write what is left, unless the reader has closed the pipe, as `head` does."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with suppress(OSError):
                os.dup2(nowhere, stream.fileno())  # or the interpreter tries once more, and prints an error


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_SUBSTITUTES)
    return text.encode("ascii", "replace").decode("ascii"), error.end
