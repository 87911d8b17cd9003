"""Kernel settings: those of one namespace, and the single host-wide one that a large lab needs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
import json
from math import ceil
from pathlib import Path
from typing import TypedDict

from lab.errors import PreflightError, RecordError
from lab.kernel.invoker import in_sandbox, runnable
from lab.kernel.netns import Namespaces, in_new_namespace
from lab.kernel.record_files import damage_told, make_directory, read, write_at_once
from lab.plan.objects import Sysctl

__all__ = ["ConntrackMaxKeeper", "reset_sysctl", "write_sysctl"]

_SYSCTL = Path("/proc/sys")


def write_sysctl(namespaces: Namespaces, sysctl: Sysctl) -> None:
    """Write a setting of one namespace; `/proc/sys/net` follows the thread that opens it."""
    path = _SYSCTL / sysctl.key.replace(".", "/")
    namespaces[sysctl.namespace].run(_write, path, sysctl)


def reset_sysctl(namespaces: Namespaces, sysctl: Sysctl) -> None:
    """Give a setting the value that it has in a new namespace."""
    path = _SYSCTL / sysctl.key.replace(".", "/")
    if value := in_new_namespace(lambda: path.read_text() if path.exists() else ""):
        namespaces[sysctl.namespace].run(_write, path, replace(sysctl, value=value))


def _write(path: Path, sysctl: Sysctl) -> None:
    if sysctl.optional and not path.exists():
        return
    path.write_text(sysctl.value, encoding="utf-8")


class _Known(TypedDict):
    """What is remembered while the setting is raised."""

    found: int
    set: int
    labs: dict[str, int]
    """Lab → entries that it needs."""


@dataclass(frozen=True, slots=True)
class ConntrackMaxKeeper:
    """Raises the host-wide `nf_conntrack_max` for labs that need more, and puts the old value back after the last.

    `record` remembers the value found, the value set, and which labs need it. Callers hold the state lock.
    """

    record: Path
    setting: Path = field(default=_SYSCTL / "net/netfilter/nf_conntrack_max")
    notice: Callable[[str], None] = lambda _: None
    """Is told when the record is damaged: then the value found is not known any more."""

    def need(self, lab: str, entries: int, scale: int = 1) -> tuple[int, int] | None:
        """Have room for `entries` of a lab of this scale; the old and the new value if the setting was raised.

        PreflightError where it cannot be.
        """
        now = int(self.setting.read_text())
        known = self._load(now)
        if not known["labs"] and entries <= now:
            return None
        labs = known["labs"] | {lab: entries}
        target = max(now, *labs.values())
        # Another program has changed it since the last lab did: its value is the one to put back.
        before = known["found"] if now == known["set"] else now
        self._save({"found": before, "set": target, "labs": labs})
        if target == now:
            return None
        try:
            self.setting.write_text(str(target))
        except PermissionError:
            where = "" if in_sandbox() else ", or start the container with --network host"
            raise PreflightError(
                f"a node of this lab tracks up to {target:,} connections, those just closed included, and there is "
                f"room for {now:,} (net.netfilter.nf_conntrack_max), which only the machine's root may change; what "
                f"fits: {runnable(f'lab up --scale {scale * ceil(entries / max(now, 1))}')}; for all of it, on the "
                f"machine: sudo sysctl -w net.netfilter.nf_conntrack_max={target}{where}"
            ) from None
        return now, target

    def release(self, lab: str) -> tuple[int, int] | None:
        """Forget a lab; the value undone and the value restored if it was the last one that needed it."""
        now = int(self.setting.read_text())
        known = self._load(now)
        if known["labs"].pop(lab, None) is None:
            return None
        if known["labs"]:
            self._save(known)
            return None
        ours = now == known["set"] != known["found"]  # otherwise another program has changed it since: its value stays
        if ours:
            self.setting.write_text(str(known["found"]))
        self.record.unlink()  # last: a `down` that is killed before, or refused, does it again
        return (now, known["found"]) if ours else None

    def _load(self, now: int) -> _Known:
        try:
            with damage_told(self.record):
                known = json.loads(read(self.record))
                labs = {str(lab): int(entries) for lab, entries in known["labs"].items()}
                return {"found": int(known["found"]), "set": int(known["set"]), "labs": labs}
        except FileNotFoundError:
            pass
        except RecordError as damaged:
            with suppress(OSError):
                self.record.unlink()
            self.notice(
                f"{damaged.fault}; it is removed, and net.netfilter.nf_conntrack_max, which labs may have raised, "
                f"stays {now:,}; to change it: sudo sysctl -w net.netfilter.nf_conntrack_max=N"
            )
        return {"found": now, "set": now, "labs": {}}

    def _save(self, known: _Known) -> None:
        make_directory(self.record.parent)
        write_at_once(self.record, json.dumps(known))
