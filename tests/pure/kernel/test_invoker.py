"""Files for the user: whose they are under sudo, and with whose rights they are made."""

from __future__ import annotations

import os
from pathlib import Path
import pwd
from tempfile import TemporaryDirectory

import pytest

from lab.kernel.invoker import as_invoker, invoker

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NOBODY = pwd.getpwnam("nobody")


def test_without_sudo_it_is_who_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invoking user of a plain command is its own."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert invoker().uid == os.geteuid()


@pytest.mark.parametrize("text", ["", "root", "-1", "4294967295", "9" * 30])
def test_a_variable_that_is_no_number_counts_for_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SUDO_UID is only believed as a user's number."""
    monkeypatch.setenv("SUDO_UID", text)
    assert invoker().uid == os.geteuid()


@ROOT_ONLY
def test_under_sudo_it_is_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invoking user, with that user's own home."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    user = invoker()
    assert (user.uid, user.gid, user.home) == (NOBODY.pw_uid, NOBODY.pw_gid, Path(NOBODY.pw_dir))


@ROOT_ONLY
def test_files_are_made_by_the_invoking_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made inside the block is the user's, and root is root again after it."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        with as_invoker():
            (place / "theirs").touch()
        (place / "ours").touch()
        assert [(place / name).stat().st_uid for name in ("theirs", "ours")] == [NOBODY.pw_uid, 0]


@ROOT_ONLY
def test_only_where_the_invoking_user_may(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's rights do not count while a file is made for somebody else; after a refusal they are back."""
    tmp_path.chmod(0o755)
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    with pytest.raises(PermissionError), as_invoker():
        (tmp_path / "theirs").touch()
    assert os.geteuid() == 0


@ROOT_ONLY
def test_where_a_group_of_the_invoking_user_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's groups count, as they would without sudo; root's come back."""
    shared = 4711
    monkeypatch.setattr(os, "getgrouplist", lambda _, gid: [gid, shared])
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    before = os.getgroups()
    with TemporaryDirectory() as name:
        place = Path(name)
        os.chown(place, 0, shared)
        place.chmod(0o770)
        with as_invoker():
            (place / "theirs").touch()
        assert (place / "theirs").stat().st_uid == NOBODY.pw_uid
    assert os.getgroups() == before
