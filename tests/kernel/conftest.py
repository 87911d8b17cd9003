"""Throwaway network namespaces for tests of single kernel objects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.machine import require_machine
from tests.support.throwaway import Throwaway


@pytest.fixture
def namespaces() -> Iterator[Throwaway]:
    """Namespaces that are gone after the test; skipped, with the reason, where this machine cannot make them."""
    require_machine()
    made = Throwaway()
    try:
        yield made
    finally:
        made.clear()
