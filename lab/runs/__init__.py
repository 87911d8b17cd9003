"""Run records: what a burst showed, with all that explains it later, in a directory of the user's."""

from __future__ import annotations

from lab.runs.make import new_run
from lab.runs.run import Environment, Run
from lab.runs.series import Series
from lab.runs.store import (
    Recorded,
    all_runs,
    default_directory,
    find,
    forget,
    load,
    may_be_forgotten,
    newest_of,
    save,
)

__all__ = [
    "Environment",
    "Recorded",
    "Run",
    "Series",
    "all_runs",
    "default_directory",
    "find",
    "forget",
    "load",
    "may_be_forgotten",
    "new_run",
    "newest_of",
    "save",
]
