"""Kernel settings: those of one namespace, and the single host-wide one that a large lab needs."""

from __future__ import annotations

from dataclasses import dataclass, field
import json
from pathlib import Path

from lab.kernel.namespaces import Namespaces
from lab.plan.objects import Sysctl

__all__ = ["ConntrackMaxKeeper", "write_sysctl"]

_SYSCTL = Path("/proc/sys")


def write_sysctl(namespaces: Namespaces, sysctl: Sysctl) -> None:
    """Write a setting of one namespace; `/proc/sys/net` follows the thread that opens it."""
    path = _SYSCTL / sysctl.key.replace(".", "/")
    namespaces[sysctl.namespace].run(_write, path, sysctl)


def _write(path: Path, sysctl: Sysctl) -> None:
    if sysctl.optional and not path.exists():
        return
    path.write_text(sysctl.value)


@dataclass(frozen=True, slots=True)
class ConntrackMaxKeeper:
    """Raises the host-wide `nf_conntrack_max` for labs that need more, and puts the old value back after the last.

    `record` remembers the value found, the value set, and which labs need it. Callers hold the state lock.
    """

    record: Path
    setting: Path = field(default=_SYSCTL / "net/netfilter/nf_conntrack_max")

    def need(self, lab: str, entries: int) -> tuple[int, int] | None:
        """Have room for `entries`; the old and the new value if the setting was raised."""
        now = int(self.setting.read_text())
        known = self._load()
        if not known and entries <= now:
            return None
        labs = {**known.get("labs", {}), lab: entries}
        target = max(now, entries)
        self._save({"found": known.get("found", now), "set": target, "labs": labs})
        if target == now:
            return None
        self.setting.write_text(str(target))
        return now, target

    def release(self, lab: str) -> tuple[int, int] | None:
        """Forget a lab; the value undone and the value restored if it was the last one that needed it."""
        known = self._load()
        if lab not in known.get("labs", {}):
            return None
        labs = {name: entries for name, entries in known["labs"].items() if name != lab}
        if labs:
            self._save({**known, "labs": labs})
            return None
        self.record.unlink()
        now = int(self.setting.read_text())
        if now != known["set"] or now == known["found"]:
            return None  # somebody else has changed it since: theirs stands
        self.setting.write_text(str(known["found"]))
        return now, known["found"]

    def _load(self) -> dict[str, dict[str, int]] | dict[str, int]:
        return json.loads(self.record.read_text()) if self.record.exists() else {}

    def _save(self, known: dict[str, object]) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps(known))
