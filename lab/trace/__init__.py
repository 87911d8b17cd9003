"""One connection, node by node: where each has it in its tables, as what it leaves, and where it ended."""

from __future__ import annotations

from lab.trace.follow import TracedLab, follow
from lab.trace.values import Hop, Outcome, Trace, end_of
from lab.trace.view import KernelView, Surroundings, View

__all__ = ["Hop", "KernelView", "Outcome", "Surroundings", "Trace", "TracedLab", "View", "end_of", "follow"]
