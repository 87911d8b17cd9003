"""Network namespaces of fleets: a socket stays in the namespace in which it was made (network_namespaces(7))."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from traffic.spec import BurstSpec

__all__ = ["Namespace", "namespaces_of"]

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int) -> None:
    """As `os.setns`, which Python has from 3.12 on."""
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class Namespace:
    """What is made in the block is made there; without a file, where the process is."""

    def __init__(self, file: str | None) -> None:
        """Opens the file; OSError if there is no such namespace."""
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._there = None if file is None else os.open(file, os.O_RDONLY)

    def __enter__(self) -> Self:
        if self._there is not None:
            _setns(self._there)
        return self

    def __exit__(self, *_: object) -> None:
        if self._there is not None:
            _setns(self._own)


def namespaces_of(spec: BurstSpec) -> tuple[Namespace, ...]:
    """The namespaces of a burst's fleets; the process needs no privilege where there is but its own."""
    return tuple(Namespace(fleet.namespace) for fleet in spec.fleets)
