"""The host is not touched: no packet of a lab is on its interfaces, whatever addresses the lab has."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import NamedTuple

from lab.kernel.preflight import find
from lab.lab import Lab
from tests.support.host import differences, network_of_host, settings_of_host
from tests.trust.frames import CONTROL, Heard, counted
from tests.trust.promise import Effort, Outcome, Promise
from tests.trust.sightings import Sightings

__all__ = ["PROMISE"]

ROOT = Path(__file__).parents[2]
TWO_SUBNETS = ROOT / "topologies" / "two_subnets.yaml"
SIZES = {Effort.SHORT: (1000, 120), Effort.FULL: (1, 140_000)}
"""Scale of the lab, and connections of its burst."""
_PUBLIC = ("8.8.8.8", "1.1.1.1")
"""Addresses that answer on many a host: the lab's own server must be who does."""
_FEW = 40


class _Burst(NamedTuple):
    """A burst, and what of it was on the host's interfaces."""

    what: str
    established: int
    expected: int
    heard: Heard

    def failures(self) -> list[str]:
        """What was not as promised."""
        found = []
        if self.established != self.expected:
            found.append(f"{self.what}: {self.established:,} of {self.expected:,} connections were established")
        if self.heard.wanted:
            found.append(f"{self.what}: {self.heard.wanted:,} frames of the lab on interfaces of the host")
        if self.heard.lost or self.heard.controls < CONTROL:
            found.append(f"{self.what}: not all was heard ({self.heard})")
        return found


def _check(effort: Effort) -> Outcome:
    host = network_of_host() | settings_of_host()
    bursts = [_large(effort)]
    with TemporaryDirectory(prefix="trust-") as directory:
        addresses = _PUBLIC[: 1 if effort is Effort.SHORT else None]
        bursts += [_to_server_at(address, Path(directory)) for address in addresses]
    bursts.append(_where_the_addresses_are_the_hosts())
    failures = [failure for burst in bursts for failure in burst.failures()]
    failures += [f"of the host, {line}" for line in differences(host, network_of_host() | settings_of_host())]
    others = sum(burst.heard.frames for burst in bursts)
    connections = sum(burst.expected for burst in bursts)
    return Outcome(connections, "connections", tuple(failures), f"{others:,} frames of others came by meanwhile")


def _large(effort: Effort) -> _Burst:
    scale, connections = SIZES[effort]
    with Lab.up(TWO_SUBNETS, name=f"host-{os.getpid()}", scale=scale) as lab:
        return burst_in(lab, f"{connections:,} connections", connections, min(connections, 130_000 // scale))


def burst_in(lab: Lab, what: str, connections: int, expected: int) -> _Burst:
    """Fire a burst, and count the lab's frames on all interfaces of this process's own namespace."""
    sightings = Sightings(lab.plan)
    with counted(sightings.is_of_lab, sightings.any_mac) as results:
        result = lab.burst(connections, connect_timeout_s=3)
    (heard,) = results
    return _Burst(what, result.tcp.established, expected, heard)


def _to_server_at(address: str, directory: Path) -> _Burst:
    path = directory / "public.yaml"
    path.write_text(TWO_SUBNETS.read_text(encoding="utf-8").replace("203.0.113.10", address), encoding="utf-8")
    with Lab.up(path, name=f"host-{os.getpid()}", scale=SIZES[Effort.SHORT][0]) as lab:
        return burst_in(lab, f"a server at {address}", _FEW, _FEW)


def _where_the_addresses_are_the_hosts() -> _Burst:
    """In a namespace that plays the host: it has the server's address and is in the lab's subnets, and is not asked."""
    unshare = find("unshare") or "unshare"
    done = subprocess.run(
        (unshare, "--net", sys.executable, "-m", "tests.trust.neighbours", str(TWO_SUBNETS)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    established, accepted, heard = json.loads(done.stdout)
    return _Burst("the host's own addresses", established - accepted, _FEW, Heard(*heard))


PROMISE = Promise(
    name="host",
    text="No packet of a lab is ever on an interface of the host, also where the lab has the host's own addresses, or "
    "public ones.",
    method="A packet socket on all interfaces of the host, during a burst of 140,000 connections, bursts to servers at "
    "8.8.8.8 and 1.1.1.1, and one on a host that has the server's address itself and is in the lab's subnets: frames "
    "with a MAC address or an IPv4 address of the lab; three that are sent on purpose must be counted. The lab's own "
    "server must have answered, and the host's network and every sysctl be as before.",
    check=_check,
)
