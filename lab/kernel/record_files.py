"""The files by which the lab remembers something: how they are made, opened, read and written.

Root's commands believe what they read there, so only a regular file counts that root (or the reader) owns and nobody
else may write to, reached through no link. Modes are given here and do not depend on the umask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import stat

from lab.errors import RecordError, escaped
from lab.kernel.invoker import runnable

__all__ = ["DamagedFileError", "damage_told", "make_directory", "opener", "read", "require_own", "write_at_once"]

_MOST_BYTES = 64 << 20
"""A hundred times what the largest topology that ships takes; more would only fill the memory."""
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class DamagedFileError(ValueError):
    """A file that cannot be what the lab has written; the text says why, without the file's name.

    What the text has of the file is escaped: it is shown on a terminal, in one line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(escaped(text))


def make_directory(path: Path) -> None:
    """Have a directory that all may read and only its owner may write to, with the parents that it lacks."""
    if not path.parent.exists():
        make_directory(path.parent)
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        status = path.stat()
        if status.st_uid == os.geteuid() and status.st_mode & _OTHERS_MAY_WRITE:
            path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_MAY_WRITE)
    else:
        path.chmod(0o755)


def require_own(status: os.stat_result) -> None:
    """DamagedFileError for what another user owns, or others than the owner may write to."""
    if status.st_uid not in (0, os.geteuid()):
        raise DamagedFileError(f"belongs to user {status.st_uid}, not to root")
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise DamagedFileError(f"others than root may write to it (mode {stat.S_IMODE(status.st_mode):04o})")


def _require_own_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFileError("is no regular file")
    if status.st_size > _MOST_BYTES:
        raise DamagedFileError(f"has {status.st_size:,} bytes, more than {_MOST_BYTES:,}")
    require_own(status)


def opener(path: str, flags: int, mode: int = 0o644) -> int:
    """For `open`: a file of a record, or a new one; OSError for what is none of the lab's."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _require_own_file(os.fstat(descriptor))
    except DamagedFileError as fault:
        os.close(descriptor)
        raise OSError(errno.EPERM, str(fault), path) from fault
    return descriptor


def read(path: Path) -> str:
    """The text of a file; DamagedFileError says what is wrong with one that is there, FileNotFoundError of none."""
    try:
        with open(path, "rb", opener=opener) as file:
            text = file.read().decode()
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as fault:
        raise DamagedFileError("is not UTF-8") from fault
    except OSError as fault:
        what = "is a symbolic link" if fault.errno == errno.ELOOP else fault.strerror
        raise DamagedFileError(what or str(fault)) from fault
    if not text:
        raise DamagedFileError("is empty")
    return text


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """RecordError that names the file when the block finds in it what the lab does not write."""
    try:
        yield
    except DamagedFileError as damage:
        fault = str(damage)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        fault = "is not what the lab writes"
    else:
        return
    raise RecordError(f"{path}: {fault}", f"without it the lab goes on: {runnable(f'rm {path}')}")


def write_at_once(path: Path, text: str, mode: int = 0o644, group: int = 0) -> None:
    """Write a file under another name and rename it, so that a reader never sees half of it, or another mode or group.

    OSError when there is no room for it; what was there before still is.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if group and os.geteuid() == 0:  # nobody else can give it away
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            file.write(text.encode())  # whatever the locale: what is read is what was given
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
