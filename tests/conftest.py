"""What all tests share: the machine, which some need to themselves (`pytest -n`), and nothing of the user's own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import signal

from hypothesis import settings
import pytest

from lab.errors import PreflightError
from lab.kernel.invoker import in_sandbox

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


@pytest.fixture(autouse=True, scope="session")
def _signals_as_on_a_terminal() -> None:
    """Who starts the tests with nohup, or in the background of a script, has commands ignore SIGHUP, or SIGINT."""
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


# ── Without root ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """In a sandbox, what a lab lacks there is why a test is skipped: as root it would fail."""
    with _lacks_skip():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """The same, of the test itself."""
    with _lacks_skip():
        return (yield)


@contextmanager
def _lacks_skip() -> Iterator[None]:
    try:
        yield
    except PreflightError as lacking:
        if not in_sandbox():
            raise
        pytest.skip(str(lacking))


# ── Turns on the machine (pytest -n) ────────────────────────────────────────────────────────────────────────


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need the machine to themselves come first: one worker has it while the others do what needs none."""
    if _is_worker(config):
        items.sort(key=lambda item: 0 if _is_alone(item) else 2 if _makes_networks(item) else 1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """A test that makes networks waits for its turn, before its fixtures do, and pytest-timeout does not count that.

    Whoever has the machine alone keeps it for the next such test: nobody would use the moment in between.
    """
    if not _is_worker(item.config) or not _makes_networks(item):
        return (yield)
    alone = _is_alone(item)
    _machine.take(alone=alone)
    try:
        return (yield)
    finally:
        if not alone or nextitem is None or not _is_alone(nextitem):
            _machine.give_back()


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _makes_networks(item: pytest.Item) -> bool:
    return item.path.relative_to(_HERE).parts[0] in ("kernel", "end_to_end")


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


class _Machine:
    """The machine, shared or taken alone, by locks of a file and a directory that all workers find (flock(2))."""

    def __init__(self) -> None:
        self._taken: int | None = None

    def take(self, *, alone: bool) -> None:
        """Wait for it, unless it is still taken; whoever waits to have it alone lets nobody else pass."""
        if self._taken is None:
            self._taken = os.open(__file__, os.O_RDONLY)
            turnstile = os.open(_HERE, os.O_RDONLY)
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(self._taken, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            os.close(turnstile)

    def give_back(self) -> None:
        """Let others have it."""
        if self._taken is not None:
            os.close(self._taken)
            self._taken = None


_HERE = Path(__file__).parent
_machine = _Machine()
