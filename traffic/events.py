"""Events of a traffic process: one JSON object a line on standard output."""

from __future__ import annotations

from contextlib import suppress
import json
import sys

__all__ = ["emit"]


def emit(event: str, **values: object) -> None:
    """Write one event; if its reader has gone, the end of standard input says what to do."""
    line = json.dumps({"event": event, **values}, separators=(",", ":"))
    with suppress(BrokenPipeError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
