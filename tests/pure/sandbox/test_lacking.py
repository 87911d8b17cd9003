"""Why a machine allows no sandbox: the setting, the container, and what helps."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lab.sandbox import lacking
from lab.sandbox.lacking import why_refused


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/proc/sys of a machine with nothing against it."""
    (tmp_path / "user").mkdir()
    (tmp_path / "kernel").mkdir()
    for kind in ("user", "mnt", "net", "pid"):
        (tmp_path / f"user/max_{kind}_namespaces").write_text("15000\n")
    (tmp_path / "status").write_text("Seccomp:\t0\n")
    monkeypatch.setattr(lacking, "_SYSCTL", tmp_path)
    monkeypatch.setattr(lacking, "_STATUS", tmp_path / "status")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "remedy"),
    [
        ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
        ("user/max_net_namespaces", "0", "sudo sysctl -w user.max_net_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "for lab alone: sudo ./run setup"),
        ("status", "Name:\tlab\nSeccomp:\t2\n", "start it with --privileged"),
    ],
)
def test_the_setting_is_named(settings: Path, file: str, text: str, remedy: str) -> None:
    """Whichever keeps users from having namespaces, and who changes it how."""
    (settings / file).write_text(text)
    assert remedy in why_refused(errno.EPERM, "[Errno 1] unshare: Operation not permitted")


@pytest.mark.usefixtures("settings")
def test_too_many() -> None:
    """The kernel's limit has four settings."""
    assert "user.max_pid_namespaces" in why_refused(errno.ENOSPC, "unshare: No space left on device")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("program", "known"), [("/usr/local/bin/lab", True), ("/usr/bin/pytest", False)])
def test_roots_way(monkeypatch: pytest.MonkeyPatch, program: str, *, known: bool) -> None:
    """The command with sudo is proposed where it is the lab's own."""
    monkeypatch.setattr("sys.argv", [program, "up", "a b.yaml"])
    assert ("or, as root: sudo lab up 'a b.yaml'" in why_refused(errno.EPERM, "no")) is known
