"""Where a user's sandbox is remembered: a directory that only the user may write to, and that goes at log-out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
import stat

from lab.errors import PreflightError

__all__ = ["Place"]

_NAME = "lambda-vpc-lab"


@dataclass(frozen=True, slots=True)
class Place:
    """A directory with a lock, and with the number and the start time of the process that holds the sandbox."""

    directory: Path

    @staticmethod
    def all() -> list[Place]:
        """Those that are there: more than one where one log-in had a runtime directory and another had none."""
        return [Place(path) for path in (*_below_runtime_directories(), _without_one()) if _is_own(path)]

    @staticmethod
    def new() -> Place:
        """The one to make a sandbox in, made if need be; PreflightError where others could write to it."""
        path = next(_below_runtime_directories(), _without_one())
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as refused:
            raise PreflightError(f"{path}, where the lab remembers your sandbox, cannot be made: {refused}") from None
        if not _is_own(path):
            raise PreflightError(f"{path}, where the lab remembers your sandbox, is not yours alone; remove it")
        return Place(path)

    @property
    def record(self) -> Path:
        """The file; the sandbox ends when it is gone."""
        return self.directory / "sandbox"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time makes, enters or ends the sandbox."""
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _below_runtime_directories() -> Iterator[Path]:
    """Log-in makes a runtime directory, and log-out removes it (XDG Base Directory Specification)."""
    for given in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}")):
        path = Path(given)
        if path.is_absolute() and _is_own(path) and os.access(path, os.W_OK):
            yield path / _NAME


def _without_one() -> Path:
    return Path(f"/tmp/{_NAME}-{os.getuid()}")  # noqa: S108 -- it counts only if it is the user's own


def _is_own(path: Path) -> bool:
    """Whether it is a directory, reached through no link, of which this user alone is the master."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
