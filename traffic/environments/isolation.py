"""The files that a process of an execution environment sees: mounts that it makes for itself before it gives up root.

A directory that other users may not enter, such as /root, may hold the interpreter or the function's code. An empty
directory is mounted over it, and only the needed paths are mounted below that again: the environment's user reaches
them, and nothing else of the directory.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import stat
import sys
from typing import TYPE_CHECKING

from traffic.environments.syscalls import bind, mount_empty, own_mounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traffic.environments.spec import Isolation

__all__ = ["PATH", "isolate", "needed_paths"]

PATH = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
"""The variable PATH as AWS documents it (docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html)."""

_TMP, _ETC, _ETC_NETNS = "/tmp", "/etc", "/etc/netns"  # noqa: S108 -- mounted over, never written to here
_OWN_TMP = "mode=1777,size=512m"
"""Lambda's /tmp has 512 MB unless configured (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
_EMPTY = "mode=0755,size=1m"


def needed_paths(command: Sequence[str], directory: str) -> tuple[str, ...]:
    """What an environment must be able to reach: its code, this interpreter, the program, files that are arguments."""
    program = shutil.which(command[0], path=PATH)
    paths = [Path(path) for path in (sys.prefix, sys.base_prefix, directory, program or "", *command)]
    there = [path for path in paths if path.is_absolute() and path.exists()]
    return tuple(dict.fromkeys(str(each) for path in there for each in (path, path.resolve())))


def isolate(isolation: Isolation, needed: Sequence[str]) -> None:
    """Give this process mounts of its own: /tmp, the namespace's files in /etc, empty ones for what is hidden."""
    own_mounts()
    covers = {_TMP: _OWN_TMP, **dict.fromkeys((*isolation.hidden, *_closed(needed)), _EMPTY)}
    own_files = sorted(Path(_ETC_NETNS, isolation.namespace).glob("*"))
    kept = {path: os.open(path, os.O_PATH) for path in needed if any(_within(path, each) for each in covers)}
    etc = {each.name: os.open(each, os.O_PATH) for each in own_files}
    for directory in sorted(covers):
        if Path(directory).is_dir():  # one below another that is covered by now is not there any more
            mount_empty(directory, covers[directory])
    for path, descriptor in kept.items():
        _mount_again(descriptor, Path(path))
    for name, descriptor in etc.items():
        target = Path(_ETC, name).resolve()  # which may be below a directory that is covered by now
        if target.exists() or any(_within(str(target), each) for each in covers):
            _mount_again(descriptor, target)
    for descriptor in (*kept.values(), *etc.values()):
        os.close(descriptor)


def _closed(paths: Iterable[str]) -> set[str]:
    """The first directory on the way to each path that other users may not enter."""
    found = set()
    for path in paths:
        ancestors = reversed(Path(path).parents)
        found.update([str(each) for each in ancestors if not each.stat().st_mode & stat.S_IXOTH][:1])
    return found


def _within(path: str, directory: str) -> bool:
    return os.path.commonpath((path, directory)) == directory.rstrip("/")


def _mount_again(descriptor: int, path: Path) -> None:
    """Mount what a descriptor stands for at a path, which is made where a cover has left nothing."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        path.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    bind(descriptor, str(path))
