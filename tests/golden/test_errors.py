"""Every kind of fault that a topology file can have, beside the text that it earns.

Each `errors/NAME.yaml` opens with a comment that says what is wrong with it; `errors/NAME.txt` has the lines
that a user reads. `LAB_UPDATE_GOLDEN=1 pytest tests/golden/test_errors.py` writes them: read the difference.
"""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from lab.errors import TopologyError
from lab.topology import load
from tests.support.golden import require_golden

ERRORS = Path(__file__).parent / "errors"
LINE = re.compile(r"[^:]+:(?P<line>\d+):(?P<column>\d+): (?P<path>\S+): (?P<what>[^;]+); (?P<allowed>.+)")


def text_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a user reads who loads the file from its own folder."""
    monkeypatch.chdir(path.parent)
    with pytest.raises(TopologyError) as refusal:
        load(path.name)
    return f"{refusal.value}\n"


@pytest.mark.parametrize("path", sorted(ERRORS.glob("*.yaml")), ids=lambda path: path.stem)
def test_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faulty file earns the text that stands beside it."""
    require_golden(text_of(path, monkeypatch), path.with_suffix(".txt"))


@pytest.mark.parametrize("path", sorted(ERRORS.glob("*.txt")), ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    """Each line is `FILE:LINE:COLUMN: path: what; what is allowed`, in the order of the file."""
    assert path.with_suffix(".yaml").exists()
    lines = [LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(lines)
    places = [(int(match["line"]), int(match["column"])) for match in lines if match]
    assert places == sorted(places)
