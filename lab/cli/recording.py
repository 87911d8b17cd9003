"""A burst's record as the command line leaves it: one that cannot be written spoils nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
import shlex
import time
from typing import TYPE_CHECKING, Any

from lab.cli.show import notice, say
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.burst.load import Load
    from lab.burst.result import BurstResult
    from lab.lab import Lab
    from lab.runs import Run

__all__ = ["Recorder", "tell_records"]


@dataclass(slots=True)
class Recorder:
    """Carries loads, and keeps what their records need until all are done."""

    directory: Path | None
    """None is where the invoking user's records are."""
    wanted: bool
    """Whether there are to be records; without them no samples are taken."""
    _carried: list[Callable[[], Run]] = field(default_factory=list)

    def carry(self, lab: Lab, load: Load, **listeners: Any) -> BurstResult:
        """The load in the lab, as `Lab.carry`."""
        from lab.runs import Series

        if not self.wanted:
            return lab.carry(load, **listeners)
        began_s, series = time.time(), Series()
        result = lab.carry(load, sampled=series.add, **listeners)
        self._carried.append(lambda: lab.record(load, result, series, began_s))
        return result

    def save(self) -> list[Path]:
        """Write the records; for one that cannot be written there is a notice, with the reason."""
        from lab import runs

        try:
            return [runs.save(run(), self.directory) for run in self._carried]
        except (OSError, LabError) as error:
            reason = (
                f"{self.directory or runs.default_directory()}: {error.strerror}"
                if isinstance(error, OSError)
                else error
            )
            notice(f"not recorded: {reason}; --record DIR is another place, --no-record does without")
            return []


def tell_records(records: Iterable[Path], *, on_stderr: bool) -> None:
    """Say where they are, and what to do with them; on standard error when standard output is a document."""
    from lab import runs

    for path in records:
        name = path.name if path.parent == runs.default_directory() else shlex.quote(str(path))
        line = f"recorded: {name} (lab report {name} -o report.html)"
        if on_stderr:
            notice(line, style="dim")
        else:
            say(line, style="dim")
