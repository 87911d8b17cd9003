"""User numbers that are nobody's, for the execution environments of one `lab invoke`.

The kernel's policy routing and nftables know a process by its user (FRA_UID_RANGE, `meta skuid`), so an environment
that is a user of its own has addresses, routes and counters of its own, whatever its program does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
import fcntl
from functools import partial
from pathlib import Path
import pwd

from lab.errors import PreflightError
from lab.kernel.record_files import make_directory, opener

__all__ = ["BLOCK", "reserved_users"]

BLOCK = 1_024
"""How many numbers are reserved at a time."""
_OF_THE_MACHINE = range(1_900_000_000, 1_900_000_000 + 1_000 * BLOCK)
"""1879048192 to 2147483647 are unused (https://systemd.io/UIDS-GIDS/)."""
_OF_A_SANDBOX = range(20_000, 20_000 + 32 * BLOCK)
"""Subordinate numbers as the user namespace has them: nothing in a sandbox is anybody else's."""
_SUBORDINATE = Path("/etc/subuid")


@contextmanager
def reserved_users(directory: Path) -> Iterator[range | None]:
    """A block of numbers that no process and no other reservation has; None where this user has no numbers to give.

    It is kept by a lock on a file in this directory, so the kernel ends it with the process. PreflightError when all
    blocks are in use.
    """
    numbers = _numbers()
    if numbers is None:
        yield None
        return
    make_directory(directory)
    taken = _taken()
    for first in range(numbers.start, numbers.stop, BLOCK):
        block = range(first, first + BLOCK)
        path = directory / f".users-{first}.lock"
        with open(path, "a", encoding="utf-8", opener=partial(opener, mode=0o600)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if any(number in block for number in taken):
                continue
            yield block
            return
    raise PreflightError(
        f"user numbers {numbers.start} to {numbers.stop - 1}, which execution environments have, are in use; end what "
        "uses them: ps -eo uid,pid,args | sort -n"
    )


def _numbers() -> range | None:
    """Those that this user namespace has, if it has all of them."""
    ranges = [
        range(int(first), int(first) + int(count))
        for first, _, count in map(str.split, Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines())
    ]
    for numbers in (_OF_THE_MACHINE, _OF_A_SANDBOX):
        if any(numbers.start in mapped and numbers[-1] in mapped for mapped in ranges):
            return numbers
    return None


def _taken() -> frozenset[int]:
    """Numbers of users, the first of each range of subordinate ones, and of processes."""
    users = {user.pw_uid for user in pwd.getpwall()}
    with suppress(OSError):
        users.update(_of_lines(_SUBORDINATE.read_text(encoding="utf-8").splitlines()))
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            users.add(process.stat().st_uid)
    return frozenset(users)


def _of_lines(lines: Iterable[str]) -> Iterator[int]:
    """`user:first:count`, the ends of each (subuid(5))."""
    for line in lines:
        _, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdecimal() and count.isdecimal():
            yield from (int(first), int(first) + int(count) - 1)
