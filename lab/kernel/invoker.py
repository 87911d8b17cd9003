"""The user who called sudo: files for the user belong to the user, and are made with only the user's rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import pwd

__all__ = ["User", "as_invoker", "invoker"]


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine."""

    uid: int
    gid: int
    home: Path
    groups: tuple[int, ...] = ()
    """All that give the user rights."""


def invoker() -> User:
    """The user who called sudo, or whose process this is (sudo(8), SUDO_UID)."""
    uid = os.geteuid()
    if uid == 0:
        uid = _id_from("SUDO_UID", uid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container's user without a name
        return User(uid, _id_from("SUDO_GID", os.getegid()), Path(os.environ.get("HOME", "/")))
    return User(uid, entry.pw_gid, Path(entry.pw_dir), tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def _id_from(variable: str, otherwise: int) -> int:
    """The last of the 32 bit numbers is no user's: it means "leave it as it is" (setresuid(2))."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) < (1 << 32) - 1 else otherwise


@contextmanager
def as_invoker() -> Iterator[User]:
    """Open and make files as the invoking user: theirs, and only where they may.

    The whole process has that user's rights until the block ends, so no thread may need root meanwhile.
    """
    user = invoker()
    if os.geteuid() != 0 or user.uid == 0:
        yield user
        return
    groups = os.getgroups()
    try:
        os.setgroups(user.groups)
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield user
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
