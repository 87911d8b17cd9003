"""System calls that Python 3.11 has no function for: namespaces and mounts."""

from __future__ import annotations

import ctypes
import os

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_REC",
    "MS_SHARED",
    "MS_SLAVE",
    "die_with_parent",
    "mount",
    "setns",
    "umount",
    "unshare",
]

# linux/sched.h, linux/mount.h, linux/prctl.h
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_SLAVE, MS_SHARED = 0x1000, 0x4000, 0x80000, 0x100000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """New namespaces for the calling thread (unshare(2))."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Move the calling thread into namespaces: an open one, or those of a process by its descriptor (setns(2))."""
    _check(_libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, flags: int, kind: str = "none", options: str = "") -> None:
    """Mount a file system, or change a mount (mount(2))."""
    text = [each.encode() for each in (source, target, kind)]
    _check(_libc.mount(*text, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def umount(target: str) -> None:
    """Take a mount away now, and end it when nobody uses it any more (umount2(2), MNT_DETACH)."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def die_with_parent(number: int) -> None:
    """Have the kernel send a signal to this process when the thread that made it ends (PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
