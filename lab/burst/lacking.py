"""The descriptors that the last burst in a lab lacked: for want of them nothing was sent, so the kernel has no count.

The note is a file in the lab's record; the next burst that has all it needs removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
import json
from pathlib import Path

from lab.burst.observation import Observation
from lab.kernel.record_files import damage_told, read, write_at_once
from lab.observe.readings import Reading
from lab.schema.descriptors import DescriptorLimit

__all__ = ["Lacking", "note", "noted"]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Invocations of a burst that failed with EMFILE, and the others that failed."""

    offered: int
    emfile: int
    failed_otherwise: int
    """Although they had a descriptor and a port."""
    each: DescriptorLimit
    refused_packets: int
    """Packets that all limits of the lab had refused since `up` when it was over."""
    file: str
    """Where this is noted."""


def note(directory: Path, observation: Observation, readings: Callable[[], Iterable[Reading]]) -> None:
    """Keep what the burst lacked for `noted`; `readings` of all limiters are asked for if it lacked any."""
    clients, path = observation.clients, _file(directory)
    emfile = clients.dns.emfile + clients.tcp.emfile
    if not emfile or observation.descriptors is None:
        path.unlink(missing_ok=True)
        return
    otherwise = clients.invocations.failed - emfile - clients.tcp.without_port
    refused_packets = sum(reading.refused_packets for reading in readings())
    lacking = Lacking(clients.offered, emfile, otherwise, observation.descriptors, refused_packets, str(path))
    write_at_once(path, json.dumps(asdict(lacking)) + "\n")


def noted(directory: Path) -> Lacking | None:
    """What the last burst lacked; None if that was nothing."""
    path = _file(directory)
    if not path.exists():
        return None
    with damage_told(path):
        fields = json.loads(read(path))
        return Lacking(**fields | {"each": DescriptorLimit(**fields["each"])})


def _file(directory: Path) -> Path:
    return directory / "emfile.json"
