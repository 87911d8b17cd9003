"""Short visits to other namespaces of a lab, by the one thread of a process that lives in one of them.

Nothing is kept open between two visits, so a namespace that `lab up` or `lab down` removes is not kept alive.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.kernel.namespaces import NETNS_DIRECTORY, enter

__all__ = ["visit"]

T = TypeVar("T")


def visit(namespace: str, function: Callable[[], T]) -> T:
    """Call a function inside a namespace, and come back; FileNotFoundError when that is gone."""
    with Path("/proc/thread-self/ns/net").open() as home, (NETNS_DIRECTORY / namespace).open() as away:
        enter(away.fileno())
        try:
            return function()
        finally:
            enter(home.fileno())
