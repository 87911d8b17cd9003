"""Numbers that stay with their owners: when a lab changes, what stays is never renumbered.

Addresses, marks and routing tables follow from numbers, given out in file order. A lab that is up and gets another
subnet must not move the ENIs that it has, so a plan records the number of each owner (`Standing`), and the next plan
begins with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from lab.errors import UsageError

__all__ = ["Leases"]


class Leases:
    """Gives each owner of a pool the number that it had, or the lowest that no owner has or had."""

    def __init__(self, known: Mapping[str, Mapping[str, int]]) -> None:
        self._known = known
        self._given: dict[str, dict[str, int]] = {}

    def take(self, pool: str, owner: str, room: int) -> int:
        """The owner's number, from 0 to `room` - 1; the same one each time."""
        given, known = self._given.setdefault(pool, {}), self._known.get(pool, {})
        if owner not in given:
            taken = {*given.values(), *known.values()}
            had = known.get(owner)
            if had is None or had in given.values():
                had = next(number for number in count() if number not in taken)
            given[owner] = had
        if given[owner] >= room:
            raise UsageError(
                f"{pool}: all {room:,} numbers are taken or were until now, none is left for {owner}; "
                "take the lab down, then up again"
            )
        return given[owner]

    def fix(self, pool: str, owner: str, number: int) -> None:
        """Gives an owner the number that it asks for, before any other has one; who had it gets another one."""
        self._given.setdefault(pool, {})[owner] = number

    def given(self) -> dict[str, dict[str, int]]:
        """Pool → owner → number, of all that were taken."""
        return {pool: dict(owners) for pool, owners in self._given.items()}
