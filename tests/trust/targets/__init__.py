"""What reads input that others have written, each with inputs to begin with."""

from __future__ import annotations

from tests.trust.targets import dns, frames, listeners, records, topologies
from tests.trust.targets.target import Target

__all__ = ["TARGETS", "Target"]

TARGETS: tuple[Target, ...] = (
    topologies.TARGET,
    records.RUNS,
    records.LABS,
    dns.DATAGRAMS,
    dns.STREAMS,
    frames.RESPONDER,
    frames.CODEC,
    listeners.SERVER,
    listeners.SCRAPES,
)
