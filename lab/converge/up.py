"""`up`: a lab that is not there is made, one that is up is changed to what is wanted, half a lab is removed first."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from lab.converge.change import Convergence, Wanted, convergence
from lab.converge.converging import converge
from lab.converge.down import take_down
from lab.converge.repair import repair
from lab.errors import KernelError, UsageError
from lab.interrupts import uninterrupted
from lab.kernel import apply
from lab.kernel.apply import Notice
from lab.kernel.invoker import runnable
from lab.kernel.losses import losses, told, way_out
from lab.kernel.preflight import require_root
from lab.kernel.remains import remains
from lab.kernel.state import Record, State
from lab.observe.collector import start_collecting, stop_collecting
from lab.observe.history import History
from lab.observe.sampling import sample_now
from lab.plan.objects import Plan

__all__ = ["Up", "bring_up", "foresee"]


class Up(NamedTuple):
    """A lab that has been brought up."""

    record: Record
    plan: Plan
    changed: bool
    convergence: Convergence | None
    """What was changed, where it was up before."""


def foresee(state: State, wanted: Wanted) -> Plan | Convergence:
    """What `bring_up` would do: make all of a plan, or change a lab that is up. Changes nothing.

    Only what a lab that is up holds is read from the kernel, so only then PreflightError asks for root.
    """
    if _record_of_a_lab_that_is_up(state, wanted) is None:
        return wanted.plan
    require_root()
    with state.changing(wanted.plan.lab):
        known = _record_of_a_lab_that_is_up(state, wanted)
        return wanted.plan if known is None else _change_of(known, wanted)


def bring_up(state: State, wanted: Wanted, notice: Notice, *, disruptive: bool, mend: bool = False) -> Up:
    """Make or change the lab. Callers hold the lab's lock.

    With `mend` what a lab that is up has lost is made again before. ExpectationError when the change breaks connections
    that are held and may not be disruptive; KernelError when the kernel refuses a step, and then what was done until
    then is taken back.
    """
    if known := _record_of_a_lab_that_is_up(state, wanted):
        plan = known.plan()
        if mend and repair(state, known, plan, notice):
            _collect_anew(known, plan, notice)
        change = _change_of(known, wanted)
        if not change:
            return Up(known, change.new, changed=False, convergence=None)
        if not disruptive:
            change.require_harmless()
        converge(state, known, change, wanted, notice)
        if change.new.nat_nodes != change.old.nat_nodes:
            _collect_anew(known, change.new, notice)
        return Up(known, change.new, changed=True, convergence=change)
    if half_built := state.record(wanted.plan.lab):  # by a process that was killed
        take_down(state, half_built, remains(state, half_built), notice)
    return Up(_make(state, wanted, notice), wanted.plan, changed=True, convergence=None)


def _collect_anew(record: Record, plan: Plan, notice: Notice) -> None:
    """Have samples taken of the nodes that there are now; where that fails the lab is changed all the same."""
    try:
        with uninterrupted():  # the change is made, and an interrupt would not be told from one that was taken back
            stop_collecting(plan)
            start_collecting(record, plan)
    except (OSError, KernelError) as refused:
        notice(f"lab {plan.lab} takes no samples until the next `lab metrics` or `lab why`: {refused}")


def _record_of_a_lab_that_is_up(state: State, wanted: Wanted) -> Record | None:
    """RecordError where there is one that cannot be read: it may be up, with connections."""
    record = state.record(wanted.plan.lab)
    if record is not None and (fault := record.fault()) is not None:
        raise fault
    return record if record is not None and record.phase() == "up" else None


def _change_of(record: Record, wanted: Wanted) -> Convergence:
    """The change of a recorded lab; UsageError names what it has lost, because the kernel lacks what the plan has."""
    plan = record.plan()
    if missing := told(losses(plan)):
        raise UsageError(f"lab {plan.lab} is up but has lost {', '.join(missing)}; {way_out(plan.lab)}")
    return convergence(record, wanted)


def _make(state: State, wanted: Wanted, notice: Notice) -> Record:
    plan = wanted.plan
    record = state.new_record(plan.lab)
    vacant = False
    try:
        with state.locked():
            apply.require_vacant(state, plan)
            vacant = True
            record.write(plan, wanted.topology, wanted.text, wanted.scale)
        apply.apply(state, record, plan, notice)
        with suppress(OSError):  # no room: what comes first is then counted from the collector's first sample
            History(record.path).add(sample_now(plan.nat_nodes))
        start_collecting(record, plan)
        record.set_phase("up")
    except BaseException:
        if vacant:  # or what is there is not this lab's
            _undo(state, record, plan, notice)
        raise
    return record


def _undo(state: State, record: Record, plan: Plan, notice: Notice) -> None:
    """Undo what was made before a failure; what cannot be undone is a notice, the original error is still raised."""
    try:
        take_down(state, record, plan, notice)
    except Exception as left:  # noqa: BLE001 -- whatever it is, it is said, and why it was undone is raised
        notice(f"not all could be undone: {left}; take the rest down: {runnable(f'lab down --lab {plan.lab}')}")
    else:
        notice("what was made is undone")
