"""The exception tree: everything the lab refuses, with the exit status that the command line gives it.

    LabError
    ├── TopologyError     2   a topology file with faults, all of them listed
    ├── UsageError        2   an argument that makes no sense, an unknown lab, node, function or server
    ├── PreflightError    3   this machine lacks something; says what and the command that installs it
    ├── KernelError       4   the kernel refused a step; everything done so far was undone
    ├── RecordError       4   what the lab has recorded of itself is damaged, or of another version
    └── ExpectationError  1   a burst did not show what `--expect` asked for, or a change would break connections

Running out of ports is not in this tree: it is a result. An interrupt is Python's own KeyboardInterrupt, status 130, or
129 of SIGHUP (`lab.interrupts`). A command whose output could not be written ends with status 5 (`lab.cli.streams`).
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ExpectationError",
    "KernelError",
    "LabError",
    "PreflightError",
    "RecordError",
    "TopologyError",
    "UsageError",
    "escaped",
]


def escaped(text: str) -> str:
    """A line with an escape for what a terminal does not show as itself: a name can forge no line and reverse none."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class LabError(Exception):
    """Base of everything the lab raises on purpose; its text is one or more lines for a person."""

    exit_status: ClassVar[int] = 4


class TopologyError(LabError):
    """A topology that cannot be used; one line per fault, `FILE:LINE:COLUMN: path: what; what is allowed`."""

    exit_status = 2


class UsageError(LabError):
    """An argument that makes no sense, or a name that nothing bears; the text lists the known ones."""

    exit_status = 2


class PreflightError(LabError):
    """Something that this machine lacks: a right, a program, a kernel feature; the text has the command that helps."""

    exit_status = 3


class KernelError(LabError):
    """A step that the kernel refused; the text names the step and the kernel's reason."""

    exit_status = 4


class RecordError(LabError):
    """A file of a lab's record that is not what the lab has written; the text names it and says what to do."""

    exit_status = 4

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(fault, advice)  # as `pickle` gives them again
        self.fault = fault
        """Without what to do."""
        self._advice = advice

    def __str__(self) -> str:
        return f"{self.fault}; {self._advice}"


class ExpectationError(LabError):
    """What was observed is not what `--expect` asked for, or a change would break connections that are held."""

    exit_status = 1
