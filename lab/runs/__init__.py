"""Run records: what a burst showed, with all that explains it later, in a directory of the user's."""

from __future__ import annotations

from lab.runs.run import Environment, Run

__all__ = ["Environment", "Run"]
