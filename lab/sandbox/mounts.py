"""The file system of a sandbox: the machine's, but for /run and /etc, which can be written to there alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import os
from pathlib import Path
import tempfile

from lab.kernel.invoker import HOST, SANDBOX
from lab.kernel.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC, MS_SLAVE, mount, umount

__all__ = ["link_what_is_new", "set_up"]

_LEFT_OUT = {"/etc": {"netns"}, "/run": {"lab", "netns"}}
"""Directory that can be written to → what of the machine's, or of root's labs, is not in it."""


def set_up() -> None:
    """In new mount and process namespaces: what the machine mounts later is seen here, and nothing of here there."""
    os.umask(0o022)
    mount("none", "/", MS_SLAVE | MS_REC)
    stage = Path(tempfile.mkdtemp(prefix="lab-"))
    mount("tmpfs", str(stage), MS_NOSUID | MS_NODEV, "tmpfs", "mode=0755")
    for directory, left_out in _LEFT_OUT.items():
        copy = stage / directory.strip("/")
        (copy / HOST).mkdir(parents=True)
        mount(directory, str(copy / HOST), MS_BIND | MS_REC)
        _link(copy, left_out)
    for directory in _LEFT_OUT:
        mount(f"{stage}{directory}", directory, MS_BIND | MS_REC)
    umount(str(stage))
    stage.rmdir()
    mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "proc")
    SANDBOX.touch()


def link_what_is_new() -> None:
    """Show what has been made in these directories of the machine since: by the installation of a package, for one."""
    for directory, left_out in _LEFT_OUT.items():
        _link(Path(directory), left_out)


def _link(copy: Path, left_out: set[str]) -> None:
    for entry in _missing(copy, left_out):
        target = Path(entry.path).readlink() if entry.is_symlink() else Path(HOST, entry.name)
        with suppress(FileExistsError):  # another command was quicker
            (copy / entry.name).symlink_to(target)


def _missing(copy: Path, left_out: set[str]) -> Iterator[os.DirEntry[str]]:
    there = {HOST, *left_out, *(entry.name for entry in os.scandir(copy))}
    return (entry for entry in os.scandir(copy / HOST) if entry.name not in there)
