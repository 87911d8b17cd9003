"""`down`: everything that a plan has is taken away, whatever part of it is there, and its record after it."""

from __future__ import annotations

from lab.interrupts import uninterrupted
from lab.kernel import apply
from lab.kernel.apply import Notice
from lab.kernel.processes import NamespaceProcess
from lab.kernel.state import Record, State
from lab.plan.objects import Plan

__all__ = ["take_down"]


def take_down(state: State, record: Record, plan: Plan, notice: Notice) -> list[NamespaceProcess]:
    """Take a lab away; which processes of others ended with it. Callers hold the lab's lock.

    KernelError when something cannot be taken back; the record stays then, and `down` can be tried again.
    """
    with uninterrupted():
        ended = apply.undo(state, record, plan, notice)
        record.forget()
    return [resident for resident in ended if not resident.ours]
