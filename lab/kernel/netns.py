"""Network namespaces: made, entered and removed.

A `NamespaceThread` enters a namespace once and stays; everything that must happen inside is sent to it: netlink
sockets, sysctls, child processes. The process's other threads stay in the host's own namespace. Creating a namespace
is one `unshare` in its thread (0.4 ms) where `ip netns add` would be a process.

A namespace that is entered costs no descriptor, and one once it is asked for its netlink socket: pyroute2 would take
three more for an event loop of its own, so all threads of a `Namespaces` share one, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import errno
import fcntl
import os
from pathlib import Path
import socket
import sys
import threading
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from lab.errors import KernelError
from lab.kernel.syscalls import CLONE_NEWNET, MS_BIND, MS_REC, MS_SHARED, mount, setns, umount, unshare
from lab.kernel.worker import Worker
from lab.plan.names import NETNS_DIRECTORY

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from pyroute2 import IPRoute

__all__ = [
    "NETNS_DIRECTORY",
    "Identity",
    "NamespaceThread",
    "Namespaces",
    "call_in",
    "cookie",
    "exists",
    "hosts_own",
    "identity_of",
    "in_new_namespace",
    "prepare_directory",
    "refusals",
    "remove",
]

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h

Identity = tuple[int, int]
"""Device and inode of a namespace, by which the kernel tells it from all others that are there."""

P = ParamSpec("P")
T = TypeVar("T")


def prepare_directory() -> None:
    """Make the directory a shared mount, as `ip netns add` does, so that every mount namespace sees new names."""
    NETNS_DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory = str(NETNS_DIRECTORY)
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as `ip netns add` does: two at once would mount it twice
        try:
            mount("", directory, MS_SHARED | MS_REC)
        except OSError as refused:
            if refused.errno != errno.EINVAL:  # that is: it is no mount yet, and a second one would lie on the first
                raise
            mount(directory, directory, MS_BIND | MS_REC)
            mount("", directory, MS_SHARED | MS_REC)
    finally:
        os.close(handle)


def exists(name: str) -> bool:
    """Whether a namespace of this name is there."""
    return (NETNS_DIRECTORY / name).exists()


def remove(name: str) -> None:
    """Take the name away; the kernel ends the namespace, and all in it, once no process is left inside."""
    path = NETNS_DIRECTORY / name
    if path.exists():
        with suppress(OSError):  # EINVAL: the mount was never made; the file still goes
            umount(str(path))
        path.unlink()


def in_new_namespace(function: Callable[[], T]) -> T:
    """Call a function in a new namespace without a name, which ends with the call."""

    def inside() -> T:
        unshare(CLONE_NEWNET)
        return function()

    with Worker() as worker:
        return worker.run(inside)


def refusals() -> tuple[type[Exception], ...]:
    """What is raised for a step that the kernel refuses. An `except` clause asks only when something was raised."""
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415  # 0.1 s, and most commands change nothing

    return OSError, NetlinkError


def cookie() -> int:
    """The number of the calling thread's namespace, which no other gets as long as the machine runs (Linux 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


def identity_of(path: Path) -> Identity:
    """That of the namespace that a file stands for."""
    status = path.stat()
    return status.st_dev, status.st_ino


def hosts_own() -> Identity:
    """The host's own namespace, or a container's: the first process's, for a command may be started in a lab's node."""
    with suppress(OSError):  # a container's root may not look at it
        return identity_of(Path("/proc/1/ns/net"))
    return identity_of(Path("/proc/self/ns/net"))


def call_in(name: str, function: Callable[[], T]) -> T:
    """Call a function inside a namespace, in the calling thread; FileNotFoundError when there is no such namespace.

    The namespace is one that is named, or any, by a path (`/proc/PID/ns/net`).
    Nothing is kept open afterwards, so a namespace that `lab up` or `lab down` removes is not kept alive.
    """
    with Path("/proc/thread-self/ns/net").open(encoding="utf-8") as home, (NETNS_DIRECTORY / name).open() as namespace:
        setns(namespace.fileno(), CLONE_NEWNET)
        try:
            return function()
        finally:
            setns(home.fileno(), CLONE_NEWNET)


class _Netlink:
    """The event loop that the netlink sockets of all namespaces share; one of them is used at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._loop: AbstractEventLoop | None = None

    def open(self) -> IPRoute:
        """A netlink socket of the calling thread's namespace; callers hold the lock."""
        import asyncio  # noqa: PLC0415  # with pyroute2 0.1 s, which commands that only read counters save

        from pyroute2 import IPRoute  # noqa: PLC0415

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return IPRoute(use_event_loop=self._loop)

    def close(self) -> None:
        """Let the sockets that were closed end, and give the loop's descriptors back."""
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._loop = None


class NamespaceThread:
    """One namespace, and the thread that lives in it."""

    def __init__(self, name: str, netlink: _Netlink) -> None:
        self.name = name
        self._worker = Worker()
        self._netlink = netlink
        self._ip: IPRoute | None = None

    def create(self) -> None:
        """Make the namespace, name it, and set its loopback interface up."""
        prepare_directory()
        self.run(self._create)
        self.ip(lambda ip: ip.link("set", index=1, state="up"))

    def enter(self) -> None:
        """Enter the namespace that bears this name."""
        self.run(self._enter)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function inside and return what it returns."""
        return self._worker.run(function, *args, **kwargs)

    def ip(self, function: Callable[[IPRoute], T]) -> T:
        """Call a function inside with the namespace's own netlink socket."""
        return self.run(self._with_netlink, function)

    def close(self) -> None:
        """Leave the namespace; it stays as it is."""
        if self._ip is not None:
            self.run(self._close_netlink)
        self._worker.close()

    def _create(self) -> None:
        path = NETNS_DIRECTORY / self.name
        path.touch(mode=0o444, exist_ok=False)
        unshare(CLONE_NEWNET)
        mount("/proc/thread-self/ns/net", str(path), MS_BIND)
        self._require_not_in_hosts()

    def _enter(self) -> None:
        with (NETNS_DIRECTORY / self.name).open() as handle:
            setns(handle.fileno(), CLONE_NEWNET)
        self._require_not_in_hosts()

    def _require_not_in_hosts(self) -> None:
        """KernelError if this thread is in the host's own namespace: what it makes would be made on the host."""
        if identity_of(Path("/proc/thread-self/ns/net")) == hosts_own():
            raise KernelError(
                f"{self.name} is the network namespace in which this command was started: the host's own, which the "
                "lab leaves alone, or a node's, as in `lab shell`; start it outside of the lab's nodes"
            )

    def _with_netlink(self, function: Callable[[IPRoute], T]) -> T:
        with self._netlink.lock:
            if self._ip is None:
                self._ip = self._netlink.open()
            return function(self._ip)

    def _close_netlink(self) -> None:
        with self._netlink.lock:
            if self._ip is not None:
                self._ip.close()
                self._ip = None


class Namespaces:
    """All namespaces that one operation deals with; each is entered when it is first asked for."""

    def __init__(self) -> None:
        self._threads: dict[str, NamespaceThread] = {}
        self._netlink = _Netlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> NamespaceThread:
        if name not in self._threads:
            self._start(name, NamespaceThread.enter)
        return self._threads[name]

    def call(self, name: str, function: Callable[[], T]) -> T:
        """Call a function inside a namespace and return what it returns."""
        return self[name].run(function)

    def create(self, name: str) -> None:
        """Make a namespace and stay ready inside it."""
        self._start(name, NamespaceThread.create)

    def _start(self, name: str, begin: Callable[[NamespaceThread], None]) -> None:
        thread = NamespaceThread(name, self._netlink)
        try:
            begin(thread)
        except BaseException:  # it may still be in the host's own namespace: it must not be used
            thread.close()
            raise
        self._threads[name] = thread

    def delete(self, name: str) -> None:
        """Leave a namespace and remove its name."""
        thread = self._threads.pop(name, None)
        if thread is not None:
            thread.close()
        remove(name)

    def wait(self) -> None:
        """Return when everything that was asked for is done, also what an interrupt left alone."""
        for thread in self._threads.values():
            thread.run(lambda: None)

    def close(self) -> None:
        """End the threads of all namespaces; the namespaces stay."""
        while self._threads:
            self._threads.popitem()[1].close()
        self._netlink.close()
