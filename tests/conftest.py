"""Who may run beside whom when several workers share the tests (`pytest -n`): some need the machine to themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
from pathlib import Path

from hypothesis import settings
import pytest

settings.register_profile("shared", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that is marked `alone` waits until no other runs, and keeps them from beginning."""
    if not hasattr(request.config, "workerinput"):  # no other worker
        yield
        return
    # All workers' temporary directories have one parent (pytest-xdist, "How-tos").
    with _machine(tmp_path_factory.getbasetemp().parent, alone=request.node.get_closest_marker("alone") is not None):
        yield


@contextmanager
def _machine(directory: Path, *, alone: bool) -> Iterator[None]:
    """Share the machine, or have it; whoever waits to have it lets nobody else pass."""
    with (directory / "turnstile").open("w") as turnstile, (directory / "machine").open("w") as machine:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield
