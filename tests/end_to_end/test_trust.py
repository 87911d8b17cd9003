"""The short form of `./run trust`: each promise of safety is tried for some seconds."""

from __future__ import annotations

import pytest

from tests.support.machine import require_machine, require_no_sandbox
from tests.trust.promise import Effort, Promise
from tests.trust.promises import PROMISES

_OF_ROOT = {"faults", "host", "privilege", "soak"}
"""Promises that are tried by looking at what only the machine's root sees, or at users that a sandbox may not have."""


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_promise(promise: Promise) -> None:
    """Nothing that is tried ends otherwise than promised."""
    require_machine()
    if promise.name in _OF_ROOT:
        require_no_sandbox()

    outcome = promise.check(Effort.SHORT)

    assert outcome.tried
    assert not outcome.failures
