"""What the lab remembers of itself: `/run/lab/NAME/` with the plan and the topology that were applied.

The kernel is the only truth about what exists; this says what was meant, so that `down` works when the topology file
has changed, moved or vanished, and for a lab that was only half built. `/run` is emptied at boot, as namespaces are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
import secrets
import shutil
from typing import TYPE_CHECKING, Literal

from lab.errors import KernelError
from lab.plan.names import RECORDS
from lab.plan.objects import Plan, plan_from_json, plan_to_json, remains_from_json

if TYPE_CHECKING:
    from lab.topology import Topology

__all__ = ["Record", "State", "write_at_once"]

Phase = Literal["building", "up"]


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

    def write(self, plan: Plan, topology: Topology, text: str, scale: int = 1) -> None:
        """Remember what is about to be made: the plan, the topology with its limits as applied, the file as written.

        The limits of the file were divided by `scale`.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        write_at_once(self.path / "scale", str(scale))
        write_at_once(self.path / "topology.yaml", text)
        write_at_once(self.path / "topology.json", topology.model_dump_json(by_alias=True))
        self.set_phase("building")
        (self.path / "identity").write_text(secrets.token_hex(16))
        # The plan is written last: without it a record that was interrupted does not count as one.
        write_at_once(self.path / "plan.json", plan_to_json(plan))

    def begin_change(self, both: Plan) -> None:
        """Remember what is about to be there of two plans, until `settle`: killed meanwhile, the lab is half built."""
        self.set_phase("building")
        write_at_once(self.path / "plan.json", plan_to_json(both))

    def settle(
        self, plan: Plan, topology: Topology | None = None, text: str | None = None, scale: int | None = None
    ) -> None:
        """Remember what is there now; without a topology it is the one that was."""
        if scale is not None:
            write_at_once(self.path / "scale", str(scale))
        if topology is not None:
            write_at_once(self.path / "topology.json", topology.model_dump_json(by_alias=True))
        if text is not None:
            write_at_once(self.path / "topology.yaml", text)
        write_at_once(self.path / "plan.json", plan_to_json(plan))
        self.set_phase("up")

    def set_phase(self, phase: Phase) -> None:
        """Record how far the lab is."""
        write_at_once(self.path / "phase", phase)

    def phase(self) -> Phase:
        """`up` once the whole plan is applied; `building` while it is made or changed, and after an interruption."""
        path = self.path / "phase"
        return "up" if path.exists() and path.read_text() == "up" else "building"

    def identity(self) -> str:
        """What tells this lab from a later one of the same name; nothing when there is none any more."""
        path = self.path / "identity"
        return path.read_text() if path.exists() else ""

    def revision(self) -> tuple[int, int]:
        """What tells the plan from an earlier one of the same lab; zeros when there is none any more."""
        try:
            status = (self.path / "plan.json").stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns

    def plan(self) -> Plan:
        """The plan that was applied."""
        try:
            return plan_from_json((self.path / "plan.json").read_text(encoding="utf-8"))
        except ValueError as damaged:
            raise KernelError(
                f"the record of lab {self.lab} is damaged, or of another version ({self.path / 'plan.json'}); take it "
                f"down: sudo lab down --lab {self.lab}; if that fails, `ip netns` shows what is left of it as "
                f"lab-{self.lab}-…: remove that with `sudo ip netns del`, then: sudo rm -r {self.path}"
            ) from damaged

    def remains(self) -> Plan:
        """What `down` has to take away, also of a record that another version of the lab wrote."""
        try:
            return self.plan()
        except KernelError as damaged:
            try:
                return remains_from_json((self.path / "plan.json").read_text(encoding="utf-8"))
            except (ValueError, KeyError, TypeError):
                raise damaged from None

    def readable(self) -> bool:
        """Whether this version of the lab can do more with it than take it down."""
        try:
            self.plan()
        except (KernelError, FileNotFoundError):  # damaged, or taken down meanwhile
            return False
        return True

    def topology(self) -> Topology:
        """The topology that was applied."""
        from lab.topology import Topology  # noqa: PLC0415  # 0.1 s, and `lab list` needs no topology

        return Topology.model_validate_json((self.path / "topology.json").read_text(encoding="utf-8"), by_alias=True)

    def scale(self) -> int:
        """What its limits were divided by."""
        path = self.path / "scale"
        return int(path.read_text(encoding="utf-8")) if path.exists() else 1

    def topology_text(self) -> str:
        """Its file, as it was then."""
        return (self.path / "topology.yaml").read_bytes().decode()

    def forget(self) -> None:
        """Remove the directory, if it was made."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def beside_others(self) -> Iterator[bool]:
        """Whether nobody is `alone` while the block runs; several may be in it at the same time."""
        with (self.path / "burst.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this is the only burst in the lab while the block runs."""
        with (self.path / "burst.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


@dataclass(frozen=True, slots=True)
class State:
    """All labs of this machine."""

    root: Path = RECORDS

    @property
    def conntrack_max_record(self) -> Path:
        """Where the host-wide setting's old value is kept."""
        return self.root / ".nf_conntrack_max.json"

    def record(self, lab: str) -> Record | None:
        """The record of a lab, if it has one."""
        path = self.root / lab
        return Record(path) if (path / "plan.json").exists() else None

    def new_record(self, lab: str) -> Record:
        """Where a lab that is about to be made will be remembered."""
        return Record(self.root / lab)

    def records(self) -> list[Record]:
        """The records of all labs, by the labs' names."""
        return [Record(path.parent) for path in sorted(self.root.glob("*/plan.json"))]

    @contextmanager
    def changing(self, lab: str) -> Iterator[None]:
        """One `up`, `down` or `reset` of a lab at a time; those of other labs go on meanwhile.

        The process that holds the lock removes its file, so one that gets the lock of a removed file opens it anew.
        """
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self.root / f".{lab}.lock"
        while True:
            with path.open("w") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not os.fstat(handle.fileno()).st_nlink:
                    continue
                try:
                    yield
                finally:
                    path.unlink()
                return

    @contextmanager
    def locked(self) -> Iterator[None]:
        """What labs share (the names of namespaces, `nf_conntrack_max`) is looked at and changed by one at a time."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def write_at_once(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file under another name and rename it, so that a reader never sees half of it, or another mode."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600, exist_ok=False)
    unfinished.write_text(text, encoding="utf-8", newline="")  # whatever the locale: what is read is what was given
    unfinished.chmod(mode)
    unfinished.replace(path)
