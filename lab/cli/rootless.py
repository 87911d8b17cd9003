"""The command line of a user without root: which commands go on in the user's sandbox, and what their help shows."""

from __future__ import annotations

from collections.abc import Sequence
import sys

from lab.kernel.invoker import is_root

__all__ = ["as_typed", "enter_sandbox"]

_MAKE_ONE = {"up", "sandbox"}
_NEED_ONE = {
    *(
        "down",
        "reset",
        "list",
        "status",
        "burst",
        "invoke",
        "metrics",
        "watch",
        "why",
        "report",
        "impair",
        "capture",
        "graph",
    ),
    *("exec", "shell"),
}
"""Commands of labs that are up; all others only read files."""


def enter_sandbox(arguments: Sequence[str]) -> None:
    """Go on in the sandbox if the command needs one; `lab up` makes it if there is none yet.

    PreflightError if this machine allows none.
    """
    verb, *words = arguments or [""]
    if sys.platform != "linux" or verb not in _MAKE_ONE | _NEED_ONE:
        return
    from lab.sandbox import enter  # 0.02 s, which root saves

    makes_none = {"up": {"--dry-run", "--help"} & set(words), "sandbox": words[:1] == ["--help"]}
    enter(make=verb in _MAKE_ONE and not makes_none[verb], listens=verb == "metrics")


def as_typed(text: str) -> str:
    """The help of a command, with the commands in it as this user types them."""
    return text if is_root() else text.replace("sudo lab", "lab")
