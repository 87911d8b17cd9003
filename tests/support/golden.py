"""Golden files: a text beside the one that it must equal, rewritten on request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_golden"]


def require_golden(text: str, golden: Path) -> None:
    """The text is what the file has; with LAB_UPDATE_GOLDEN=1 the file is written first: read the difference."""
    if os.environ.get("LAB_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
