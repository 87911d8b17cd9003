"""All checks, in the order of the table. A check's module is imported here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.trust import breakage, faults, host, hostile, privilege, side_by_side, soak

if TYPE_CHECKING:
    from tests.trust.promise import Promise

__all__ = ["PROMISES"]

PROMISES: tuple[Promise, ...] = (
    faults.PROMISE,
    breakage.PROMISE,
    host.PROMISE,
    hostile.PROMISE,
    privilege.PROMISE,
    side_by_side.PROMISE,
    soak.PROMISE,
)
