"""How many connections a machine has the resources for, before the first packet. Pure: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
import re
from typing import Self

from traffic.spec import Engine

__all__ = ["MOST_OF_A_PROCESS", "Resources", "most_connections", "per_process"]

MOST_OF_A_PROCESS = 18_000
"""Real connections of one process: with more, further processes share the work."""
_PROCESSES = 32
"""More processes would take longer to start than their connections take to make."""
_PER_WORKER = 3
"""Descriptors of the coordinator for each worker: two pipes, and one to spare."""
_RESERVED = 100
"""Descriptors that connections leave to everything else in a process."""
_ENDS = 2
"""Both ends of a connection are on this machine, with a descriptor, an open file and a socket each."""

# Measured on Linux 6.18 with 54,000 connections held (meminfo's Slab, smaps' Pss), before and while.
_BYTES: dict[Engine, int] = {
    "packet": 800,  # two conntrack entries and two slots, 680 to 720; the arrays of the clients
    "socket": 12_000,  # 11,000 of slabs: two sockets with inode, dentry, file and epoll item; the rest as above, twice
    "scapy": 800,  # two conntrack entries and two slots
}
_TLS_BYTES = 46_000
"""More for each connection with TLS, OpenSSL's state: 19,300 at the server, 25,800 at the client (4,000 held; Pss)."""
_PROGRAM_BYTES = 64 << 20
"""Python and numpy, once; processes of one engine share most of it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the machine has available."""

    memory_bytes: int
    descriptors: int
    """The hard limit of descriptors of one process."""
    files: int
    """Open files of the whole machine, beyond those that are open."""

    @classmethod
    def of(cls, meminfo: str, file_nr: str, descriptors: int) -> Self:
        """The resources as /proc/meminfo, /proc/sys/fs/file-nr and RLIMIT_NOFILE have them."""
        available = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo, re.MULTILINE)
        if available is None:
            raise ValueError("/proc/meminfo has no MemAvailable")
        allocated, _, most = map(int, file_nr.split())
        return cls(int(available[1]) * 1024, descriptors, most - allocated)


def most_connections(engine: Engine, resources: Resources, *, tls: bool = False) -> int:
    """How many connections fit at the same time; 0 if none does."""
    by_memory = max(resources.memory_bytes - _PROGRAM_BYTES, 0) // (_BYTES[engine] + (_TLS_BYTES if tls else 0))
    if engine != "socket":
        return by_memory
    processes = min(_PROCESSES, max(resources.descriptors - _RESERVED, 0) // _PER_WORKER)
    return max(min(by_memory, resources.files // _ENDS, processes * per_process(resources.descriptors)), 0)


def per_process(descriptors: int) -> int:
    """How many real connections one process makes that may have so many descriptors; 0 if none."""
    return max(min(MOST_OF_A_PROCESS, descriptors - _RESERVED), 0)
