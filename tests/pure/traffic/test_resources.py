"""What a machine has the means for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from traffic.resources import Resources, most_connections, per_process

PLENTY = Resources(memory_bytes=1 << 40, descriptors=20_000, files=1 << 40)


def test_memory() -> None:
    """Real connections need more memory than emulated ones, and nothing is left of no memory."""
    small = replace(PLENTY, memory_bytes=1 << 30)
    assert 2_000_000 > most_connections("packet", small) > 10 * most_connections("socket", small) > 0
    assert most_connections("socket", replace(PLENTY, memory_bytes=1 << 20)) == 0


def test_memory_of_tls() -> None:
    """Connections with TLS need several times the memory."""
    small = replace(PLENTY, memory_bytes=1 << 30)
    assert most_connections("socket", small) > 4 * most_connections("socket", small, tls=True) > 0


def test_files() -> None:
    """Both ends of a real connection are open files of this machine; emulated ones are none."""
    assert most_connections("socket", replace(PLENTY, files=1000)) == 500
    assert most_connections("packet", replace(PLENTY, files=0)) == most_connections("packet", PLENTY)
    assert most_connections("socket", replace(PLENTY, files=-1)) == 0


@pytest.mark.parametrize(("descriptors", "connections"), [(1 << 20, 18_000), (1024, 924), (100, 0), (10, 0)])
def test_descriptors(descriptors: int, connections: int) -> None:
    """A process leaves some descriptors to everything else; more processes make up for few."""
    assert per_process(descriptors) == connections
    assert (most_connections("socket", replace(PLENTY, descriptors=descriptors)) > 0) == (connections > 0)


def test_processes() -> None:
    """Few descriptors mean many processes, and there are no more than can be started and listened to."""
    assert most_connections("socket", replace(PLENTY, descriptors=1024)) == 32 * 924
    assert most_connections("socket", replace(PLENTY, descriptors=130)) == 10 * 30


def test_what_the_kernel_tells() -> None:
    """MemAvailable, the files that may still be opened, and the limit."""
    meminfo = "MemTotal:       24682752 kB\nMemFree:        20000000 kB\nMemAvailable:   23572480 kB\n"
    assert Resources.of(meminfo, "1888\t0\t9223372\n", 20_000) == Resources(23_572_480 * 1024, 20_000, 9_221_484)
    with pytest.raises(ValueError, match="MemAvailable"):
        Resources.of("MemTotal: 1 kB\n", "1 0 2", 1)
