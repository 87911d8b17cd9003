"""The process that takes the samples of a lab, for commands that need them: if it has ended, it is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.cli.show import clock, notice

if TYPE_CHECKING:
    from lab.lab import Lab

__all__ = ["resume_collecting"]


def resume_collecting(lab: Lab) -> None:
    """What was counted meanwhile is not lost, but nobody knows in which period it came."""
    since_s = lab.resume_collecting()
    if since_s is not None:
        notice(
            f"the process that takes lab {lab.name}'s samples had ended, and runs again; numbers are missing since "
            f"{clock(since_s)}, and what has come meanwhile counts as of now"
        )
