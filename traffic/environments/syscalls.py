"""System calls of a process that becomes an execution environment: mounts of its own, and its end with its parent."""

from __future__ import annotations

import ctypes
import os

__all__ = ["adopt_orphans", "bind", "die_with_parent", "mount_empty", "own_mounts"]

# linux/sched.h, linux/mount.h, linux/prctl.h
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_libc = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> None:
    """A mount namespace for this process: what it mounts from now on, nobody else sees.

    What is unmounted elsewhere is unmounted here too (MS_SLAVE), so that no environment keeps a file system busy.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    _mount("", "/", _MS_REC | _MS_SLAVE)


def mount_empty(directory: str, options: str) -> None:
    """Mount a file system in memory over a directory (tmpfs(5) has the options)."""
    _mount("tmpfs", directory, _MS_NOSUID | _MS_NODEV, "tmpfs", options)


def bind(descriptor: int, target: str) -> None:
    """Mount the file or directory that an O_PATH descriptor stands for, with what is mounted below it, on another."""
    _mount(f"/proc/self/fd/{descriptor}", target, _MS_BIND | _MS_REC)


def die_with_parent(number: int) -> None:
    """Have the kernel send a signal to this process when the thread that made it ends.

    Another user number takes that back (prctl(2), PR_SET_PDEATHSIG), so it is asked for after setresuid(2).
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends, instead of process 1 (PR_SET_CHILD_SUBREAPER)."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def _mount(source: str, target: str, flags: int, kind: str = "none", options: str = "") -> None:
    text = [os.fsencode(each) for each in (source, target, kind)]
    _check(_libc.mount(*text, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
