"""Where a user's sandbox is remembered, and which directories are not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.errors import PreflightError
from lab.sandbox import place
from lab.sandbox.place import Place


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in /tmp, of a user without a runtime directory."""
    monkeypatch.setattr("os.getuid", os.geteuid)
    monkeypatch.setattr(place, "_without_one", lambda: tmp_path / "in-tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nowhere"))
    return tmp_path / "in-tmp"


def test_the_runtime_directory_first(tmp_path: Path, without: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What log-out removes, where there is one."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert Place.all() == []
    assert Place.new().record == runtime / "lambda-vpc-lab" / "sandbox"
    assert [each.directory for each in Place.all()] == [runtime / "lambda-vpc-lab"]
    assert not without.exists()


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o777), lambda path: path.rename(path.with_name("old"))])
def test_a_directory_that_others_may_write_to(
    tmp_path: Path, without: Path, monkeypatch: pytest.MonkeyPatch, spoil: object
) -> None:
    """It does not count, nor does one that is not there: the next one is taken."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    assert callable(spoil)
    spoil(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    if Place.new().directory != without:
        pytest.skip("this user has a runtime directory in /run/user as well")


def test_somebody_elses_directory(tmp_path: Path, without: Path) -> None:
    """In /tmp everybody may be first: a link, a file, or a directory of another mode is refused with its name."""
    without.symlink_to(tmp_path)
    if Path(f"/run/user/{os.getuid()}").exists():
        pytest.skip("this user has a runtime directory")
    with pytest.raises(PreflightError, match="in-tmp"):
        Place.new()
    assert Place.all() == []
