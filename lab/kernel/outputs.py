"""Files that the user names: written with the user's own rights, whole or not at all, and through no link.

A regular file is written under a name that nobody can guess and then renamed, so whatever was there before stays until
all is written. Pipes and devices are written into. A symbolic link is refused, whoever made it: in a directory that
others can write to it leads where they want. /dev/stdout, /dev/fd/N and their like are this process's own descriptors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import re
import secrets
import stat

from lab.errors import UsageError
from lab.kernel.invoker import as_invoker

__all__ = ["open_output", "require_writable", "write_output"]

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def write_output(option: str, file: str | os.PathLike[str], content: bytes) -> None:
    """Write the file that an option names; UsageError when it cannot be, and then it is as it was."""
    path = Path(file)
    with _refusals_named(option, path), as_invoker():
        if _is_replaced(path):
            _replace(path, content)
        else:
            with os.fdopen(_opened(path), "wb") as output:
                output.write(content)


def open_output(option: str, file: str | os.PathLike[str]) -> int:
    """A descriptor of the file that an option names, for what is written as it comes; UsageError when there is none.

    What was in a regular file is still there.
    """
    path = Path(file)
    with _refusals_named(option, path), as_invoker():
        _is_replaced(path)
        return _opened(path)


def require_writable(option: str, file: str | os.PathLike[str]) -> None:
    """Refuse, before anything is done, a file that `write_output` could not write."""
    path = Path(file)
    with _refusals_named(option, path), as_invoker():
        if _is_replaced(path):
            descriptor, unfinished = _unfinished(path)
            os.close(descriptor)
            unfinished.unlink()
        elif (own := _own_descriptor(path)) is not None:
            os.fstat(own)
        elif not os.access(path, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _refusals_named(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise UsageError(f"{option} {path}: cannot be written: {why}; give another file") from None


def _is_replaced(path: Path) -> bool:
    """Whether there is a regular file, or nothing yet; OSError for a directory and for a link."""
    if _own_descriptor(path) is not None:
        return False
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    for refused, number in ((stat.S_ISLNK, errno.ELOOP), (stat.S_ISDIR, errno.EISDIR)):
        if refused(mode):
            raise OSError(number, os.strerror(number))
    return stat.S_ISREG(mode)


def _own_descriptor(path: Path) -> int | None:
    number = _DESCRIPTOR.fullmatch(str(path))
    return int(number[1]) if number else _STREAMS.get(str(path))


def _opened(path: Path) -> int:
    own = _own_descriptor(path)
    return os.open(path, _NEW, 0o666) if own is None else os.dup(own)


def _replace(path: Path, content: bytes) -> None:
    descriptor, unfinished = _unfinished(path)
    try:
        with os.fdopen(descriptor, "wb") as output:
            if path.exists():
                os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))
            output.write(content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _unfinished(path: Path) -> tuple[int, Path]:
    unfinished = path.with_name(f".lab-{secrets.token_hex(8)}")
    return os.open(unfinished, _NEW | os.O_EXCL, 0o666), unfinished
