"""A lab's collector: a process that takes a sample of all NAT nodes each second, as CloudWatch does for its minutes.

`python -m lab.observe.collector DIRECTORY NODES` lives in one of the lab's namespaces, so it ends with the lab, and
visits the others. It imports next to nothing: it starts in some 50 ms and takes 15 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
import sys
import time

from lab.kernel.netns import call_in
from lab.observe.history import History
from lab.observe.sampling import Sampler
from lab.slots.counters import NatNode, nodes_from_json

__all__ = ["collect"]

_SHARE_OF_TIME = 0.05
"""What taking samples may take, at most: kernels before 6.16 count a set's elements by walking."""


def collect(directory: Path, nodes: Iterable[NatNode]) -> None:
    """Take samples on the second, until the directory is gone."""
    sampler, history = Sampler(nodes), History(directory)
    while directory.exists():
        begun_s = time.time()
        sample = sampler.take(call_in)
        with suppress(OSError):  # no room left, or the lab is going: the next sample has all that this one had
            history.add(sample)
        time.sleep(_rest_s(begun_s, time.time()))


def _rest_s(begun_s: float, now_s: float) -> float:
    """Until the next whole second, or a later one if samples would take more than their share of the time."""
    earliest_s = max(now_s, begun_s + (now_s - begun_s) / _SHARE_OF_TIME)
    return earliest_s // 1 + 1 - now_s


if __name__ == "__main__":
    collect(Path(sys.argv[1]), nodes_from_json(sys.argv[2]))
