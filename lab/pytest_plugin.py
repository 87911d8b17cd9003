"""The pytest plugin: `lab_up` brings labs up for a test and takes them down, whatever happens in it.

def test_two_subnets(lab_up):
    result = lab_up("topologies/two_subnets.yaml").burst(140_000)
    assert result.dns.failed == 0 and result.bottleneck == "hyperplane_eni"

A burst leaves half-open connections that hold slots for a while. A further burst of the same lab begins without them
as `lab.burst(140_000, fresh=True)`, or after `lab.reset()`.

Without root, labs are in the user's sandbox (`lab.sandbox`), and what a test gets passes its calls on to a `Lab` there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
import os
from os import PathLike, getpid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

if TYPE_CHECKING:
    from lab.lab import Lab

__all__ = ["LabUp", "lab_up"]

_numbers = count(1)


class LabUp(Protocol):
    """What the `lab_up` fixture is."""

    def __call__(self, topology: str | PathLike[str], *, name: str | None = None, scale: int = 1) -> Lab:
        """Bring a lab up; a name of its own unless one is given, so that labs that are up already are left alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab-require`."""
    parser.getgroup("lab").addoption(
        "--lab-require", action="store_true", help="tests that need a lab fail, instead of being skipped, without one"
    )


@pytest.fixture(scope="session")
def _lab_class() -> Iterator[type[Lab]]:
    if os.geteuid() == 0:
        from lab.lab import Lab  # noqa: PLC0415  # pytest loads plugins for every project

        yield Lab
        return
    from lab.sandbox.remote import remote  # noqa: PLC0415  # as above

    lab_class = remote("lab.lab:Lab")
    yield cast("type[Lab]", lab_class)
    lab_class.close()


@pytest.fixture
def lab_up(request: pytest.FixtureRequest) -> Iterator[LabUp]:
    """Bring labs up from topology files; the test is skipped, with the reason, where this machine cannot.

    With `--lab-require` it fails.

    `Lab.reset()` makes a lab forget the connections that one burst has left to the next.
    """
    from lab.errors import PreflightError, UsageError  # noqa: PLC0415  # pytest loads plugins for every project

    with ExitStack() as taken_down:

        def up(topology: str | PathLike[str], *, name: str | None = None, scale: int = 1) -> Lab:
            wanted = name or f"test-{getpid()}-{next(_numbers)}"
            try:
                lab_class: type[Lab] = request.getfixturevalue("_lab_class")
                # A process in the sandbox has a directory of its own.
                lab = lab_class.up(Path(topology).absolute() if os.geteuid() else topology, name=wanted, scale=scale)
            except PreflightError as lacking:
                (pytest.fail if request.config.getoption("lab_require") else pytest.skip)(str(lacking))
            if not lab.changed:
                raise UsageError(f"lab {wanted} was up before the test, which must not take it down")
            taken_down.callback(lab.down)
            return lab

        yield up
