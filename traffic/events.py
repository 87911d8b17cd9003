"""How a traffic process speaks: one JSON object a line on standard output."""

from __future__ import annotations

from contextlib import suppress
import json
import sys

__all__ = ["emit"]


def emit(event: str, **values: object) -> None:
    """Say one thing; a reader that has gone away is not our concern."""
    line = json.dumps({"event": event, **values}, separators=(",", ":"))
    with suppress(BrokenPipeError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
