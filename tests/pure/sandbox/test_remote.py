"""What is passed between a test and the lab's process in a sandbox."""

from __future__ import annotations

import pickle

from lab.errors import KernelError, RecordError
from lab.sandbox.remote import passable


def test_errors_of_the_lab_can_be_copied() -> None:
    """Their text and what they carry are the same at the other side."""
    error = RecordError("the record is damaged", "take it down")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- its own
    assert (str(copy), copy.fault) == ("the record is damaged; take it down", "the record is damaged")


def test_what_cannot_be_copied_says_the_same() -> None:
    """An exception with a constructor of its own becomes one of the lab's, with its text."""

    class OddError(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} and {two}")

    passed = passable(OddError("this", "that"))
    assert isinstance(passed, KernelError)
    assert str(passed) == "OddError: this and that"
