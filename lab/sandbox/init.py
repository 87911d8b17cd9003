"""`python -m lab.sandbox.init DIRECTORY USER`: the first process of a sandbox, which sets it up and holds it.

The kernel ends every other process inside when this one ends: when its record is gone, which `lab down --all` removes,
and log-out with the user's runtime directory; when all the user's log-ins are being closed; when nothing has been in it
for a while.
"""

from __future__ import annotations

from contextlib import suppress
import fcntl
import os
from pathlib import Path
import signal
import socket
import struct
import sys

from lab.plan.names import NETNS_DIRECTORY, RECORDS
from lab.sandbox.mounts import set_up
from lab.sandbox.place import Place

__all__ = ["has_logged_out"]

_SAYS, _RECORD = 3, 4
"""Descriptors: on the first, whoever makes the sandbox listens; the second is the record, which has a name then."""
_LOOKS_EVERY_S = 2.0
_ALONE_FOR_S = 60.0
_LOGIND = Path("/run/systemd/users")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h


def main() -> None:
    """Set up, say so, and sleep."""
    place, user = Place(Path(sys.argv[1])), sys.argv[2]
    try:
        set_up()
        _loopback_up()
    except OSError as refused:
        os.write(_SAYS, f"{refused.errno} {refused}\n".encode())
        return
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    os.write(_SAYS, b"ready\n")
    os.close(_SAYS)
    alone_s = 0.0
    while os.fstat(_RECORD).st_nlink and not has_logged_out(user):
        woken = signal.sigtimedwait(awaited, _LOOKS_EVERY_S)
        if woken is not None and woken.si_signo == signal.SIGTERM:
            break
        _reap()
        alone_s = alone_s + _LOOKS_EVERY_S if woken is None and _is_empty() else 0.0
        if alone_s > _ALONE_FOR_S:
            with place.locked():  # nobody is about to enter
                if _is_empty():
                    _forget(place)
    _forget(place)


def _forget(place: Place) -> None:
    """Remove the record, unless it is another sandbox's."""
    with suppress(OSError):
        if os.path.samestat(place.record.stat(), os.fstat(_RECORD)):
            place.record.unlink()


def _is_empty() -> bool:
    """Whether there is neither a lab, whole or not, nor another process."""
    if any(name.isdecimal() and name != "1" for name in os.listdir("/proc")):  # noqa: PTH208 -- names alone
        return False
    left = (entry for directory in (RECORDS, NETNS_DIRECTORY) if directory.is_dir() for entry in directory.iterdir())
    return not any(entry.is_dir() or entry.parent == NETNS_DIRECTORY for entry in left)


def has_logged_out(user: str) -> bool:
    """Whether logind is closing all sessions of the user; it waits for processes that are left in them."""
    with suppress(OSError):
        return "\nSTATE=closing\n" in (_LOGIND / user).read_text(encoding="utf-8")
    return False


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        name, flags = struct.unpack_from("16sH", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", name, flags | _IFF_UP))


def _reap() -> None:
    """Processes whose parents have ended are this one's children."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main()
