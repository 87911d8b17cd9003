"""What the lab remembers of itself: `/run/lab/NAME/` with the plan and the topology that were applied.

The kernel is the only truth about what exists; this says what was meant, so that `down` works when the topology file
has changed, moved or vanished, and for a lab that was only half built. `/run` is emptied at boot, as namespaces are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import fcntl
from functools import partial
import json
import os
from pathlib import Path
import re
import secrets
import shutil
import stat
from typing import IO, TYPE_CHECKING, Literal, NamedTuple

from lab.errors import KernelError, RecordError
from lab.kernel.invoker import runnable
from lab.kernel.record_files import DamagedFileError, make_directory, opener, read, require_own, write_at_once
from lab.plan.names import RECORDS
from lab.plan.objects import Plan, plan_from_json, plan_to_json, remains_from_json

if TYPE_CHECKING:
    from lab.topology import Topology

__all__ = ["KnownNamespace", "Record", "State", "may_be_a_lab"]

Phase = Literal["building", "up"]

_PLAN, _PHASE, _IDENTITY, _NAMESPACES = "plan.json", "phase", "identity", "namespaces.jsonl"
_CONTENTS = ("scale", "topology.yaml", "topology.json", _PLAN)
"""What is written of a lab in the order in which a change lets it count."""
_BEFORE, _MEANWHILE, _THEN = ".before", ".meanwhile", ".then"
"""Ends of the names of files that count when a change is taken back, while it is made, and after it."""


class KnownNamespace(NamedTuple):
    """A namespace that a lab has made, as the kernel knows it."""

    name: str
    device: int
    inode: int
    cookie: int
    """Which no other namespace gets until the machine starts anew; inodes are given again."""


@dataclass(frozen=True, slots=True)
class Record:
    """The directory in which one lab is remembered."""

    path: Path

    @property
    def lab(self) -> str:
        """The lab's name."""
        return self.path.name

    @property
    def logs(self) -> Path:
        """Where the traffic processes' standard error goes."""
        return self.path / "log"

    # ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, plan: Plan, topology: Topology, text: str, scale: int = 1) -> None:
        """Remember what is about to be made: the plan, the topology with its limits as applied, the file as written.

        The limits of the file were divided by `scale`. The record is whole or not there. OSError: there is no room.
        """
        unfinished = Record(self._unfinished)
        self.forget()
        self.forget_unfinished()
        try:
            make_directory(unfinished.logs)
            contents = _contents(plan, topology, text, scale) | {_PHASE: "building", _IDENTITY: secrets.token_hex(16)}
            for name, content in contents.items():
                write_at_once(unfinished.path / name, content)
            unfinished.path.rename(self.path)
        except BaseException:
            self.forget_unfinished()
            raise

    def begin_change(self, both: Plan, new: Plan, topology: Topology, text: str, scale: int) -> None:
        """Remember what is about to be there of two plans, until `settle` or `revert`: killed meanwhile, half a lab.

        All that will be written is written here, under other names, before the first of it counts: neither of the two
        needs any room. KernelError when there is none, and then the record is as it was.
        """
        meanwhile = {_PHASE: "building", _PLAN: plan_to_json(both)}
        then = _contents(new, topology, text, scale) | {_PHASE: "up"}
        try:
            for suffix, contents in ((_MEANWHILE, meanwhile), (_THEN, then)):
                for name, content in contents.items():
                    write_at_once(self.path / f"{name}{suffix}", content)
            for name in meanwhile:
                (self.path / f"{name}{_BEFORE}").unlink(missing_ok=True)
                os.link(self.path / name, self.path / f"{name}{_BEFORE}")
        except OSError as refused:
            self._drop(_BEFORE, _MEANWHILE, _THEN)
            raise KernelError(f"the record of lab {self.lab} cannot be written: {refused}") from refused
        self._let_count(_MEANWHILE, meanwhile)

    def settle(self) -> None:
        """Remember that the change has been made."""
        self._let_count(_THEN, (*_CONTENTS, _PHASE))
        self._drop(_BEFORE)

    def give_up_change(self) -> None:
        """Make room: what would have counted after the change will not be needed any more."""
        self._drop(_MEANWHILE, _THEN)

    def revert(self) -> None:
        """Remember what was there before the change."""
        self.give_up_change()
        self._let_count(_BEFORE, (_PLAN, _PHASE))
        self._drop(_BEFORE)  # to rename one of two links to a file to the other does nothing (rename(2))

    def _let_count(self, suffix: str, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):  # the change was interrupted before it was written
                (self.path / f"{name}{suffix}").replace(self.path / name)

    def _drop(self, *suffixes: str) -> None:
        for suffix in suffixes:
            for path in self.path.glob(f"*{suffix}"):
                path.unlink()

    def set_phase(self, phase: Phase) -> None:
        """Record how far the lab is."""
        write_at_once(self.path / _PHASE, phase)

    def note_namespace(self, namespace: KnownNamespace) -> None:
        """Remember by what a namespace that was made is known when its name is gone."""
        with open(self.path / _NAMESPACES, "a", encoding="utf-8", opener=opener) as notes:
            notes.write(json.dumps(namespace) + "\n")

    def forget(self) -> None:
        """Remove the directory, if it was made; to others it is gone at once. Of a link only the link goes."""
        _remove(self._going)
        with suppress(FileNotFoundError):
            self.path.rename(self._going)
        _remove(self._going)

    def forget_unfinished(self) -> None:
        """Remove what was not finished, when a process was killed while it wrote the record or removed it."""
        for path in (self._unfinished, self._going):
            _remove(path)

    @property
    def _unfinished(self) -> Path:
        """Where a record is until it counts."""
        return self.path.with_name(f".{self.lab}.new")

    @property
    def _going(self) -> Path:
        """Where a record is that does not count any more."""
        return self.path.with_name(f".{self.lab}.gone")

    # ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────

    def phase(self) -> Phase:
        """`up` once the whole plan is applied; `building` while it is made or changed, and after an interruption."""
        with self._reading(_PHASE) as text:
            if text not in ("up", "building"):
                raise DamagedFileError("is neither `up` nor `building`")
            phase: Phase = "up" if text == "up" else "building"
        return phase

    def identity(self) -> str:
        """What tells this lab from a later one of the same name; nothing when there is none any more."""
        try:
            with self._reading(_IDENTITY) as text:
                if not re.fullmatch("[0-9a-f]{32}", text):
                    raise DamagedFileError("is not 32 hexadecimal digits")
        except FileNotFoundError:
            return ""
        return text

    def revision(self) -> tuple[int, int]:
        """What tells the plan from an earlier one of the same lab; zeros when there is none any more."""
        try:
            status = (self.path / _PLAN).stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns

    def plan(self) -> Plan:
        """The plan that was applied; RecordError where it cannot be read, FileNotFoundError where no lab is."""
        with self._reading(_PLAN) as text:
            plan = plan_from_json(text)
            if plan.lab != self.lab:
                raise DamagedFileError(f"is the plan of lab {plan.lab}")
        return plan

    def remains(self) -> Plan | None:
        """What `down` is told to take away, also by another version of the lab; None where that cannot be read.

        It is what was recorded: what of it may be this lab's is for `lab.kernel.remains` to say.
        """
        try:
            with self._reading(_PLAN) as text:
                plan = remains_from_json(text)
        except (RecordError, FileNotFoundError):
            return None
        return plan if plan.lab == self.lab else None

    def fault(self) -> RecordError | None:
        """Why no more can be done with this lab than to take it down, if that is so."""
        try:
            self.identity()
            self.phase()
            self.plan()
        except RecordError as fault:
            return fault
        return None

    def topology(self) -> Topology:
        """The topology that was applied."""
        from lab.topology import Topology  # noqa: PLC0415  # 0.1 s, and `lab list` needs no topology

        with self._reading("topology.json") as text:
            return Topology.model_validate_json(text, by_alias=True)

    def scale(self) -> int:
        """What its limits were divided by."""
        with self._reading("scale") as text:
            if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
                raise DamagedFileError("is no number from 1 on")
        return int(text)

    def topology_text(self) -> str:
        """Its file, as it was then."""
        with self._reading("topology.yaml") as text:
            pass
        return text

    def known_namespaces(self) -> Iterator[KnownNamespace]:
        """What `note_namespace` was told; a line that cannot be read is left out, for `down` goes on without it."""
        with suppress(FileNotFoundError, RecordError), self._reading(_NAMESPACES) as text:
            for line in text.splitlines():
                with suppress(ValueError, TypeError, OverflowError, RecursionError):
                    name, device, inode, cookie = json.loads(line)
                    yield KnownNamespace(str(name), int(device), int(inode), int(cookie))

    @contextmanager
    def _reading(self, name: str) -> Iterator[str]:
        """The text of a file; RecordError when it, or what the block makes of it, is not what the lab writes.

        FileNotFoundError when the whole lab is gone.
        """
        path = self.path
        try:
            self._require_own()
            path /= name
            yield read(path)
        except FileNotFoundError:
            if not self.path.exists():
                raise
            fault = f"{path}: is missing"
        except DamagedFileError as damage:
            fault = f"{path}: {damage}"
        except RecursionError:
            fault = f"{path}: is nested too deeply"
        except (ValueError, TypeError, KeyError, AttributeError):
            fault = f"{path}: is not what this version of the lab writes"
        else:
            return
        raise RecordError(
            f"the record of lab {self.lab} is damaged, or of another version: {fault}",
            f"take it down: {runnable(f'lab down --lab {self.lab}')}",
        )

    def _require_own(self) -> None:
        status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise DamagedFileError("is no directory")
        require_own(status)

    # ── Locks ───────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def beside_others(self) -> Iterator[bool]:
        """Whether nobody is `alone` while the block runs; several may be in it at the same time."""
        with _lock_file(self.path / "burst.lock") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this is the only burst in the lab while the block runs."""
        with _lock_file(self.path / "burst.lock") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _records() -> Path:
    """Root's, or a sandbox's; a user without root has no labs outside of one."""
    return RECORDS if os.geteuid() == 0 else Path("/nonexistent")


@dataclass(frozen=True, slots=True)
class State:
    """All labs of this machine."""

    root: Path = field(default_factory=_records)

    @property
    def conntrack_max_record(self) -> Path:
        """Where the host-wide setting's old value is kept."""
        return self.root / ".nf_conntrack_max.json"

    def record(self, lab: str) -> Record | None:
        """The record of a lab, damaged or not, if it has one."""
        path = self.root / lab
        return Record(path) if may_be_a_lab(lab) and (path.is_dir() or path.is_symlink()) else None

    def new_record(self, lab: str) -> Record:
        """Where a lab that is about to be made will be remembered."""
        return Record(self.root / lab)

    def records(self) -> list[Record]:
        """The records of all labs, by the labs' names."""
        names = sorted(path.name for path in self.root.glob("*"))
        return [record for name in names if (record := self.record(name)) is not None]

    @contextmanager
    def changing(self, lab: str) -> Iterator[None]:
        """One `up`, `down` or `reset` of a lab at a time; those of other labs go on meanwhile.

        The process that holds the lock removes its file, so one that gets the lock of a removed file opens it anew.
        """
        make_directory(self.root)
        path = self.root / f".{lab}.lock"
        while True:
            with _lock_file(path) as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                    if not os.fstat(handle.fileno()).st_nlink:
                        continue
                    yield
                finally:
                    _remove_if_held(handle, path)
                return

    def forget_unfinished(self, awaited: str | None = None) -> None:
        """Remove what processes that were killed have left of records that do not count, and their locks.

        What another process is at is left to it, and waited for if it is the `awaited` lab's.
        """
        ends = r"\.([a-z0-9-]+)\.(new|gone|lock)"
        left = {found[1] for path in self.root.glob(".*") if (found := re.fullmatch(ends, path.name))}
        for lab in sorted(left):
            if (lab == awaited or not self.is_changing(lab)) and any(self.root.glob(f".{lab}.*")):
                with self.changing(lab):
                    self.new_record(lab).forget_unfinished()

    def is_changing(self, lab: str) -> bool:
        """Whether an `up`, a `down` or a `reset` of a lab is under way; the lock of one that was killed is free."""
        try:
            with open(self.root / f".{lab}.lock", encoding="utf-8", opener=opener) as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def locked(self) -> IO[str]:
        """What labs share (the names of namespaces, `nf_conntrack_max`) is looked at and changed by one at a time.

        It is locked until the file is closed. No generator, which may be interrupted between its `yield` and its end:
        it holds the lock as long as the interrupt's traceback is there, and the undoing, which needs it, hangs.
        """
        make_directory(self.root)
        handle = _lock_file(self.root / ".lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            return handle  # noqa: TRY300 -- nothing may come between the two
        except BaseException:
            handle.close()
            raise


def may_be_a_lab(name: str) -> bool:
    """Whether it may be a lab's name, and so the name of its directory and the beginning of its namespaces' names."""
    return re.fullmatch("[a-z0-9-]+", name) is not None


def _contents(plan: Plan, topology: Topology, text: str, scale: int) -> dict[str, str]:
    """File → text."""
    return dict(
        zip(_CONTENTS, (str(scale), text, topology.model_dump_json(by_alias=True), plan_to_json(plan)), strict=True)
    )


def _remove(path: Path) -> None:
    """Remove a directory and all that is in it, or a file; of a link only the link goes."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _lock_file(path: Path) -> IO[str]:
    """Root's alone: whoever may read a file may lock it (flock(2)), and keep root waiting."""
    return open(path, "a", encoding="utf-8", opener=partial(opener, mode=0o600))


def _remove_if_held(handle: IO[str], path: Path) -> None:
    """Remove a lock's file, unless another process has the lock and will do so, or has done so: the name is its own.

    One that cannot be removed is no harm: its lock is free, and who comes next removes it.
    """
    with suppress(OSError):  # BlockingIOError: another has the lock
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle.fileno()).st_nlink:
            path.unlink()
