"""What a process gives up once it has its sockets: root's user number, and the capabilities that it will not need.

A socket that is open stays open, whatever its process may do from then on: packet rings send and receive, listening
sockets accept (packet(7), capabilities(7)). Files of root can no longer be read, nor modules that are below a home
directory which others may not enter: what a process will use is loaded before.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
import os
from pathlib import Path
import struct

__all__ = ["LAB_GID", "LAB_UID", "Capability", "give_up", "has_users"]

LAB_UID = LAB_GID = 65_527
"""No user's and no group's, and without an entry in /etc/passwd, so nobody can log in as it and it owns no file.

Debian reserves 65000 to 65533 (Debian Policy 9.2.2), and of these systemd's dynamic users leave out 65520 to 65533
(https://systemd.io/UIDS-GIDS/); a container with a user namespace of its own has the numbers up to 65535.
"""

# linux/prctl.h, linux/capability.h
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_WORD = (1 << 32) - 1

_libc = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """Those that some process keeps, by their bits (linux/capability.h)."""

    NET_BIND_SERVICE = 10
    """Binding to ports below 1024, which execution environments have as well."""
    NET_ADMIN = 12
    """Reading nftables and connection tracking, which the kernel shows to nobody else."""
    SYS_ADMIN = 21
    """Entering network namespaces (setns(2))."""


def give_up(*kept: Capability, user: int = LAB_UID, group: int = LAB_GID) -> None:
    """Keep these capabilities and no other, for good; a process that is not root's has nothing to give up.

    The process must have one thread: most of this the kernel keeps for each thread. In a user namespace that has no
    such user it stays the one that it is, which is an ordinary user's number there. OSError if something is refused.
    """
    if os.geteuid() != 0:
        return
    _prctl(_PR_SET_KEEPCAPS, 1)
    _bound()
    if has_users():
        os.setgroups([])
    if user and has_users():
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    _hold(sum(1 << each for each in kept))
    _prctl(_PR_SET_KEEPCAPS, 0)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def has_users() -> bool:
    """Whether this user namespace has the lab's own user and group: an ordinary user's often has none but the user."""
    return all(_is_mapped(LAB_UID, Path(f"/proc/self/{what}_map")) for what in ("uid", "gid"))


def _is_mapped(number: int, file: Path) -> bool:
    ranges = (map(int, line.split()) for line in file.read_text(encoding="ascii").splitlines())
    return any(first <= number < first + count for first, _, count in ranges)


def _bound() -> None:
    """No program that the process might start gets any capability, root's neither."""
    number = 0
    while (bounded := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:  # EINVAL: the kernel has no such one
        if bounded:
            _prctl(_PR_CAPBSET_DROP, number)
        number += 1


def _hold(mask: int) -> None:
    """Permitted and effective are these; nothing is inheritable, so nothing is ambient (capset(2))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    words = (mask & _WORD, mask >> 32)
    _check(_libc.capset(header, b"".join(struct.pack("=III", word, word, 0) for word in words)), "capset")


def _prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, argument, 0, 0, 0), f"prctl({option}, {argument})")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
