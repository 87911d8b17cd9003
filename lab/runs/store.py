"""Where run records are: `~/.local/share/lab/runs/ID/` of the user who asked, or a directory of their choice.

A record is a directory that is whole or not there: it is filled under another name, and then renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import errno
from itertools import count
import os
from pathlib import Path
import re
import shutil
import stat
from typing import Any

from lab.errors import UsageError
from lab.kernel.invoker import User, as_invoker, invoker, runnable
from lab.runs.document import FILES, RUN_FILE, from_files, is_of_a_run, to_files
from lab.runs.run import Run

__all__ = [
    "Recorded",
    "all_runs",
    "default_directory",
    "find",
    "forget",
    "load",
    "may_be_forgotten",
    "newest_of",
    "save",
]

_ID = re.compile(r"\d{8}-\d{6}-\S+")
_LAST = re.compile(r"last(?:~(\d{1,9}))?")
_WANTED = f"give a record's directory, or its {RUN_FILE}"
_TOLD = 5
"""How many names a sentence lists."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record: the run, or what is wrong with it."""

    path: Path
    run: Run | None
    fault: str | None = None
    """One sentence, of a record that is damaged or of another version."""

    @property
    def id(self) -> str:
        """Its directory's name."""
        return self.path.name

    def to_json(self) -> dict[str, Any]:
        """Its part of the document of `lab runs --json`; of one that cannot be read, no more than why."""
        document: dict[str, Any] = {"id": self.id, "path": str(self.path), "fault": self.fault}
        if self.run is None:
            return document
        run, result = self.run, self.run.result
        return document | {
            "began_s": run.began_s,
            "lab": result.lab,
            "topology": run.topology.name,
            "offered": result.offered,
            "established": result.tcp.established,
            "timed_out": result.tcp.timed_out,
            "drop_threshold": result.drop_threshold,
            "bottleneck": result.bottleneck,
            "commands": list(run.commands),
        }


def default_directory() -> Path:
    """Where the invoking user's records are (XDG Base Directory Specification: absolute paths only)."""
    user = invoker()
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute() or not _belongs_to(user, data):
        data = user.home / ".local" / "share"
    return data / "lab" / "runs"


def _belongs_to(user: User, path: Path) -> bool:
    """Whether a directory from the environment is the user's own, not one that root's own profile names."""
    if user.uid == os.geteuid():
        return True
    there = next(ancestor for ancestor in (path, *path.parents) if ancestor.exists())
    return there.stat().st_uid == user.uid


def save(run: Run, directory: Path | None = None) -> Path:
    """Write a run's record and return its directory, whose name is the run's: with a number if there was such a one.

    It belongs to the invoking user. OSError when there is no room, no right or no such place; then nothing is left.
    """
    files = to_files(run)
    directory = directory or default_directory()
    with as_invoker():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = directory / f".{run.id}.{os.getpid()}"
        unfinished.mkdir()
        try:
            for name, text in files.items():
                (unfinished / name).write_text(text, encoding="utf-8")
            return _named(unfinished, directory / run.id)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def _named(unfinished: Path, wanted: Path) -> Path:
    """Give it its name; rename(2) refuses one that another record has."""
    for number in count(1):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            return unfinished.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise AssertionError("numbers do not end")


def find(run: str | os.PathLike[str], directory: Path | None = None) -> Path:
    """The directory of a run's record: by its id, the beginning of it, `last`, `last~1` (the one before), or a path.

    UsageError when there is none, or several begin so.
    """
    text = os.fspath(run)
    if isinstance(run, os.PathLike) or os.sep in text or text in (os.curdir, os.pardir):
        return _at(Path(text))
    directory = directory or default_directory()
    paths = _paths(directory)
    if last := _LAST.fullmatch(text):
        return _last(paths, int(last[1] or 0), directory, text)
    matching = [path for path in paths if path.name == text]
    matching = matching or [path for path in paths if text and path.name.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        raise UsageError(f"run {text!r} could be several; write more of it: {_names(matching)}")
    if text and Path(text).exists():
        return _at(Path(text))
    raise UsageError(f"no run {text!r} in {directory}; {_known(paths)}")


def _at(path: Path) -> Path:
    """The record at a path, which may be that of its `run.json`."""
    path = Path(os.path.abspath(path.parent if path.name == RUN_FILE else path))  # noqa: PTH100 -- links stay
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"run {path}: {error.strerror}; {_WANTED}") from None
    if not stat.S_ISDIR(mode):
        raise UsageError(f"run {path}: no directory; {_WANTED}")
    return path


def _last(paths: list[Path], back: int, directory: Path, text: str) -> Path:
    if back >= len(paths):
        recorded = f"{len(paths):,} recorded there" if paths else _known(paths)
        raise UsageError(f"no run {text!r} in {directory}; {recorded}")
    return paths[back]


def _known(paths: list[Path]) -> str:
    return f"known: {_names(paths)}" if paths else f"none is recorded there: {runnable('lab burst')} leaves one"


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:_TOLD]) + (" …" if len(paths) > _TOLD else "")


def load(run: str | os.PathLike[str], directory: Path | None = None) -> Run:
    """A recorded run; UsageError when there is none such, or its record is damaged, or of another version."""
    return _read(find(run, directory))


def _read(path: Path) -> Run:
    files = {}
    for name in FILES:
        try:
            files[name] = _text(path / name)
        except FileNotFoundError:
            everything = ", as is everything: the directory is empty" if _is_empty(path) else ""
            raise UsageError(f"run {path.name} is damaged: {name}: is missing{everything}") from None
        except UnicodeDecodeError:
            raise UsageError(f"run {path.name} is damaged: {name}: is not UTF-8") from None
        except OSError as error:
            raise UsageError(f"run {path.name}: {name} cannot be read: {error.strerror}") from None
    return from_files(path.name, files)


def _text(path: Path) -> str:
    """The text of a regular file; OSError for a pipe, which would block, and for a device, which may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "no regular file")
    return path.read_text(encoding="utf-8")


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return not any(path.iterdir())
    return False


def all_runs(directory: Path | None = None) -> Iterator[Recorded]:
    """All records, the newest first, each read when it is its turn; none where there is no such directory."""
    for path in _paths(directory or default_directory()):
        try:
            yield Recorded(path, _read(path))
        except UsageError as fault:
            yield Recorded(path, None, str(fault))


def newest_of(lab: str, directory: Path | None = None) -> Run | None:
    """The last run in a lab of that name that can be read; None if there is none."""
    for path in _paths(directory or default_directory()):
        if _may_be_of(lab, path.name):
            with suppress(UsageError):
                run = _read(path)
                if run.result.lab == lab:
                    return run
    return None


def _may_be_of(lab: str, name: str) -> bool:
    """Whether a record may be of a lab, by its name: records of other labs are not read, which saves time."""
    own = re.compile(rf"\d{{8}}-\d{{6}}-{re.escape(lab)}(-\d+)?")
    return _ID.fullmatch(name) is None or own.fullmatch(name) is not None


def may_be_forgotten(record: Recorded) -> bool:
    """Whether it is a record of the lab's own, damaged or not: a directory, no link to one, with a readable `run.json`.

    Other things in the user's directory, though they are called as records are, are not the lab's to remove.
    """
    try:
        with _directory(record.path) as directory:
            descriptor = os.open(RUN_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            with os.fdopen(descriptor, encoding="utf-8") as file:
                return stat.S_ISREG(os.fstat(descriptor).st_mode) and is_of_a_run(file.read())
    except (OSError, UnicodeDecodeError):
        return False


def forget(records: Iterable[Recorded]) -> None:
    """Remove records that may be forgotten: the files that are a record's, and the directory if it has no others.

    OSError of the first that could not be removed, after all others.
    """
    refusals = []
    with as_invoker():
        for record in records:
            try:
                with _directory(record.path) as directory:
                    for name in reversed(FILES):  # run.json last: until it is gone the record may be forgotten
                        with suppress(FileNotFoundError):
                            os.unlink(name, dir_fd=directory)
                record.path.rmdir()
            except OSError as refused:
                refused.filename = str(record.path)
                refusals.append(refused)
    if refusals:
        raise refusals[0]


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory that is no link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _paths(directory: Path) -> list[Path]:
    """The directories of records, the newest first: names begin with the time, in UTC, and times of files tell more."""
    dated = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed since it was listed
                    dated += [(_order(entry), Path(entry.path))] if _is_record(entry) else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"{directory}: cannot be read: {error.strerror}") from None
    return [path for _, path in sorted(dated, reverse=True)]


def _is_record(entry: os.DirEntry[str]) -> bool:
    """Whether a directory is a record, or a damaged one: the user's directory may have other things in it."""
    if entry.name.startswith(".") or not entry.is_dir():
        return False
    return _ID.fullmatch(entry.name) is not None or (Path(entry.path) / RUN_FILE).is_file()


def _order(entry: os.DirEntry[str]) -> tuple[str, int]:
    return entry.name[:15] if _ID.fullmatch(entry.name) else "", entry.stat().st_mtime_ns
