"""Forgetting a lab's connections: whose turn it is, and how many they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.burst.reset import Forgotten, reset
from lab.errors import UsageError
from lab.kernel.state import Record
from lab.nodes.build import build
from tests.support.bursts import ENI_A, ENI_B, eips, reading
from tests.support.topologies import shipped


def test_while_a_burst_runs(tmp_path: Path) -> None:
    """Its connections are not taken from it."""
    record = Record(tmp_path)
    with record.alone(), pytest.raises(UsageError, match="another burst is running in lab tiny"):
        reset(record, build(shipped("tiny")))


def test_how_many() -> None:
    """A connection holds a slot in an ENI and one at a NAT gateway; those that one kind has let go count as well."""
    nat = [reading(each, 4) for each in eips(2)]
    assert Forgotten("t", (reading(ENI_A, 5), reading(ENI_B, 5), *nat)).connections == 10
    assert Forgotten("t", (replace(reading(ENI_A), in_use=1), *nat)).connections == 8
    assert Forgotten("t", ()).connections == 0
