"""Network namespaces for one test, with names of their own; whatever lives in them ends with the test."""

from __future__ import annotations

from itertools import count
import os
from pathlib import Path
import subprocess

from lab.kernel import processes
from lab.kernel.netns import Namespaces, remove
from lab.kernel.rtnl import add_veth
from lab.plan.names import mac_address
from lab.plan.objects import Port, VethPair
from tests.support.machine import NETNS

__all__ = ["Throwaway", "text_of", "veth"]

_numbers = count(1)


class Throwaway(Namespaces):
    """Namespaces as the lab makes them."""

    def __init__(self) -> None:
        super().__init__()
        self._reserved: list[str] = []

    def reserve(self) -> str:
        """A name that no other test uses."""
        self._reserved.append(f"labtest-{os.getpid()}-n{next(_numbers)}")
        return self._reserved[-1]

    def new(self) -> str:
        """The name of a new namespace."""
        name = self.reserve()
        self.create(name)
        return name

    def pair(self) -> VethPair:
        """A veth pair between two new namespaces, `left` in one and `right` in the other."""
        pair = veth(self.new(), self.new())
        add_veth(self, pair)
        return pair

    def clear(self) -> None:
        """Take everything away."""
        self.close()
        hosts = Path("/proc/self/ns/net")
        there = [name for name in self._reserved if (NETNS / name).exists()]
        processes.end(name for name in there if not (NETNS / name).samefile(hosts))
        for name in there:
            remove(name)


def veth(left: str, right: str) -> VethPair:
    """A veth pair between two namespaces, `left` in the one and `right` in the other."""
    return VethPair(Port(left, "left", mac_address(left, "left")), Port(right, "right", mac_address(right, "right")))


def text_of(namespace: str, *command: str) -> str:
    """What a command prints inside."""
    inside = ("ip", "netns", "exec", namespace, *command)
    return subprocess.run(inside, capture_output=True, text=True, check=True).stdout
