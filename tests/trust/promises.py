"""All checks, in the order of the table. A check's module is imported here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.trust import faults, host, hostile, privilege, soak

if TYPE_CHECKING:
    from tests.trust.promise import Promise

__all__ = ["PROMISES"]

PROMISES: tuple[Promise, ...] = (faults.PROMISE, host.PROMISE, hostile.PROMISE, privilege.PROMISE, soak.PROMISE)
