"""When the first process of a sandbox ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.sandbox import init


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("NAME=ada\nSTATE=closing\nSTOPPING=yes\n", True),
        ("NAME=ada\nSTATE=active\n", False),
        ("NAME=ada\nSTATE=lingering\n", False),
        (None, False),
    ],
)
def test_log_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, *, out: bool) -> None:
    """As systemd-logind has it of the user (sd_uid_get_state(3)); without it nobody knows."""
    monkeypatch.setattr(init, "_LOGIND", tmp_path)
    if text is not None:
        (tmp_path / "1000").write_text(text)
    assert init.has_logged_out("1000") is out
