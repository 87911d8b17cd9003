"""The short form of `./run trust`: each promise of safety is tried for some seconds."""

from __future__ import annotations

import pytest

from tests.support.machine import require_machine
from tests.trust.promise import Effort, Promise
from tests.trust.promises import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_promise(promise: Promise) -> None:
    """Nothing that is tried ends otherwise than promised."""
    require_machine()

    outcome = promise.check(Effort.SHORT)

    assert outcome.tried
    assert not outcome.failures
