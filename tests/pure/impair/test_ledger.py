"""What faults had dropped before they were cleared, as it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.errors import RecordError
from lab.impair.faults import Faults, Impairment
from lab.impair.ledger import dropped_so_far, note
from lab.kernel.netns import Namespaces
from tests.support.tiny_lab import PLAN


@pytest.mark.parametrize(
    ("field", "value"), [("latency_s", 1e300), ("loss_percent", -1), ("rate_bit_per_s", 10**400), ("colour", 1)]
)
def test_a_fault_that_cannot_be_set_is_told(tmp_path: Path, field: str, value: float) -> None:
    """A ledger with a fault that `lab impair` would refuse is damaged, and the error names the file."""
    note(tmp_path, [Impairment("natgw", "inet", Faults(silence=True), 3)])
    (ledger,) = tmp_path.iterdir()
    fields = json.loads(ledger.read_text())
    fields["faults"][field] = value
    ledger.write_text(json.dumps(fields) + "\n")

    with Namespaces() as namespaces, pytest.raises(RecordError, match=str(ledger)):
        dropped_so_far(namespaces, PLAN, tmp_path)
