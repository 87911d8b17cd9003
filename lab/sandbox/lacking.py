"""Why this machine allows no sandbox, by the kernel's error and its settings, and what helps."""

from __future__ import annotations

from contextlib import suppress
import errno
from pathlib import Path
import re
import shlex
import sys

__all__ = ["why_refused"]

_SYSCTL, _STATUS = Path("/proc/sys"), Path("/proc/self/status")
_KINDS = ("user", "mnt", "net", "pid")
"""Of the namespaces that a sandbox has (namespaces(7), /proc/sys/user)."""


def why_refused(number: int, text: str) -> str:
    """A sentence for what the kernel refused with this error number (errno(3)) and text."""
    what, remedy = _reason(number, text)
    sentence = f"without root the lab needs namespaces of your own, and {what}; {remedy}"
    if Path(sys.argv[0]).name != "lab":  # a program of the user's, such as pytest
        return sentence
    return f"{sentence}; or, as root: sudo {shlex.join(['lab', *sys.argv[1:]])}"


def _reason(number: int, text: str) -> tuple[str, str]:
    for kind in _KINDS:
        if _setting(f"user/max_{kind}_namespaces") == "0":
            return "this machine allows none", _sysctl(f"user.max_{kind}_namespaces", 15_000)
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "only root may make them on this machine", _sysctl("kernel.unprivileged_userns_clone", 1)
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor lets no program of yours use them (Ubuntu 23.10 and later)",
            f"{_sysctl('kernel.apparmor_restrict_unprivileged_userns', 0)}; for lab alone: sudo ./run setup",
        )
    if number == errno.ENOSPC:
        settings = ", ".join(f"user.max_{kind}_namespaces" for kind in _KINDS)
        return "too many are in use, or one in the other", f"an administrator raises one of these: {settings}"
    if _is_filtered():
        return (
            f"this container forbids it ({text or 'users cannot be mapped'})",
            "start it with --privileged (docs/sandbox.md has smaller ways)",
        )
    what = text or "the process that would hold them has ended"
    return f"the kernel refuses them: {what}", "docs/sandbox.md has what it takes"


def _setting(name: str) -> str | None:
    with suppress(OSError):
        return (_SYSCTL / name).read_text(encoding="ascii").strip()
    return None


def _sysctl(name: str, value: int) -> str:
    return f"an administrator allows it: sudo sysctl -w {name}={value}"


def _is_filtered() -> bool:
    """Whether a seccomp filter is on this process (proc_pid_status(5))."""
    return re.search(r"^Seccomp:\s*2$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE) is not None
