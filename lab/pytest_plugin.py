"""The pytest plugin: `lab_up` brings labs up for a test and takes them down, whatever happens in it.

def test_two_subnets(lab_up):
    result = lab_up("topologies/two_subnets.yaml").burst(140_000)
    assert result.dns.failed == 0 and result.bottleneck == "hyperplane_eni"

A burst leaves half-open connections that hold slots for a while. A further burst of the same lab begins without them
as `lab.burst(140_000, fresh=True)`, or after `lab.reset()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from os import PathLike, getpid
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from lab.lab import Lab

__all__ = ["LabUp", "lab_up"]

_numbers = count(1)


class LabUp(Protocol):
    """What the `lab_up` fixture is."""

    def __call__(self, topology: str | PathLike[str], *, name: str | None = None, scale: int = 1) -> Lab:
        """Bring a lab up; a name of its own unless one is given, so that labs that are up already are left alone."""


@pytest.fixture
def lab_up() -> Iterator[LabUp]:
    """Bring labs up from topology files; the test is skipped, with the reason, where this machine cannot.

    `Lab.reset()` makes a lab forget the connections that one burst has left to the next.
    """
    from lab.errors import PreflightError, UsageError  # noqa: PLC0415  # pytest loads plugins for every project
    from lab.lab import Lab  # noqa: PLC0415  # as above

    with ExitStack() as taken_down:

        def up(topology: str | PathLike[str], *, name: str | None = None, scale: int = 1) -> Lab:
            wanted = name or f"test-{getpid()}-{next(_numbers)}"
            try:
                lab = Lab.up(topology, name=wanted, scale=scale)
            except PreflightError as lacking:
                pytest.skip(str(lacking))
            if not lab.changed:
                raise UsageError(f"lab {wanted} was up before the test, which must not take it down")
            taken_down.callback(lab.down)
            return lab

        yield up
