"""Where programs of the system are looked for."""

from __future__ import annotations

import pytest

from lab.kernel import preflight


@pytest.mark.parametrize(
    ("given", "searched"),
    [
        ("/usr/local/bin:/usr/bin:/bin", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),  # su without a dash
        ("/usr/sbin:/usr/bin", "/usr/sbin:/usr/bin"),
        ("/opt/tools", "/opt/tools"),
        (None, "/bin:/usr/bin:/usr/sbin:/sbin"),
    ],
)
def test_search_path(monkeypatch: pytest.MonkeyPatch, given: str | None, searched: str) -> None:
    """Directories of system programs are added to those of everybody's programs, and to no others."""
    monkeypatch.delenv("PATH")
    if given is not None:
        monkeypatch.setenv("PATH", given)
    assert preflight.search_path() == searched
