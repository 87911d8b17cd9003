"""What all tests share: the machine, which some need to themselves (`pytest -n`), and nothing of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
from pathlib import Path

from hypothesis import settings
import pytest

settings.register_profile("shared", deadline=None)  # how long an example takes is the machine's affair
settings.register_profile("quick", deadline=None, max_examples=25)  # for `./run test quick`
settings.load_profile("shared")


@pytest.fixture(autouse=True, scope="session")
def _no_ones_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bursts of tests leave their records elsewhere, also where the tests were started with sudo."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        for variable in ("SUDO_UID", "SUDO_GID"):
            environment.delenv(variable, raising=False)
        yield


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
