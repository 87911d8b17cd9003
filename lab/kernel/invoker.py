"""Who called: files belong to the user who called sudo, and commands that are proposed are those that the user may run.

Without root, a command runs in the user's sandbox (`lab.sandbox`), where the user's number is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import os
from pathlib import Path
import pwd

__all__ = ["HOST", "SANDBOX", "User", "as_invoker", "in_sandbox", "invoker", "is_root", "labs_of_root", "runnable"]

SANDBOX = Path("/run/lab.sandbox")
"""A file that is there inside of a sandbox only."""
_MAP = Path("/proc/self/uid_map")
"""Of a sandbox: 0, the user's number outside, how many; and those of subordinate users (user_namespaces(7))."""
HOST = ".host"
"""In /run and /etc of a sandbox: the directory of the machine, as it is."""


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
    if in_sandbox():
        return User(uid, os.getegid(), _home(int(_MAP.read_text(encoding="ascii").split()[1])))
    if uid == 0:
        uid = _id_from("SUDO_UID", uid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container's user without a name
        return User(uid, _id_from("SUDO_GID", os.getegid()), _home(uid))
    return User(uid, entry.pw_gid, Path(entry.pw_dir), tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def _home(uid: int) -> Path:
    """The user's, by the number outside of a sandbox; of one without a name, what the environment says."""
    with suppress(KeyError):
        return Path(pwd.getpwuid(uid).pw_dir)
    return Path(os.environ.get("HOME") or "/")


def _id_from(variable: str, otherwise: int) -> int:
    """The last of the 32 bit numbers is no user's: it means "leave it as it is" (setresuid(2))."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) < (1 << 32) - 1 else otherwise


def in_sandbox() -> bool:
    """Whether this process is in the sandbox of a user without root."""
    return SANDBOX.exists()


def is_root() -> bool:
    """Whether this process is root's, of the machine and not of a sandbox."""
    return os.geteuid() == 0 and not in_sandbox()


def labs_of_root() -> int:
    """How many labs root has up, seen by a user without root, whose labs are others."""
    if is_root():
        return 0
    records = Path("/run", HOST if in_sandbox() else "", "lab")
    try:
        return sum(entry.is_dir() and not entry.name.startswith(".") for entry in records.iterdir())
    except OSError:  # there is none, or it may not be looked at
        return 0


def runnable(command: str) -> str:
    """What this user types to run a command that takes root: `lab …`, or a program's such as `ip netns exec …`."""
    if is_root():
        return f"sudo {command}"
    return command if command.startswith("lab ") else f"lab sandbox -- {command}"


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
