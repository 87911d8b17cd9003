"""What arithmetic says, the kernel shows: random topologies with small limits, random bursts one after another.

100 topologies here; `LAB_PREDICTION_CASES=2000` for a longer run.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
import os
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
import pytest

from lab.run import Lab
from tests.support.topologies import LASTING, topologies

if TYPE_CHECKING:
    from lab.result import BurstResult
    from lab.topology import Topology

CASES = int(os.environ.get("LAB_PREDICTION_CASES", "100"))

_numbers = count(1)
_seen: Counter[tuple[bool, str | None, bool]] = Counter()


@st.composite
def bursts(draw: st.DrawFn, topology: Topology) -> dict[str, Any]:
    """A burst that may well be too much."""
    return {
        "connections": draw(st.integers(1, 150)),
        "function": draw(st.sampled_from([each.name for each in topology.functions])),
        "server": draw(st.sampled_from([each.name for each in topology.servers])),
        "leave_open": draw(st.booleans()),
    }


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize="LAB_PREDICTION_CASES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # a case takes a second: shrinking would take an hour
)
@given(topologies(st.integers(1, 60), timeouts=LASTING, embedded=True), st.data())
def test_what_is_predicted_is_seen(
    tmp_path_factory: pytest.TempPathFactory, made: Topology, data: st.DataObject
) -> None:
    """Established, drop threshold and bottleneck are as predicted, wherever chance has no say; all accounts agree."""
    path = tmp_path_factory.mktemp("predicted") / "made.yaml"
    path.write_text(made.model_dump_json(by_alias=True))  # JSON is YAML
    with Lab.up(path, name=f"predicted-{os.getpid()}-{next(_numbers)}") as lab:
        for _ in range(data.draw(st.integers(1, 2), label="bursts")):
            asked = data.draw(bursts(made), label="burst")
            _judge(lab.burst(**asked, connect_timeout_s=0.5))


def _judge(result: BurstResult) -> None:
    predicted = result.predicted
    assert result.disagreements == ()
    assert result.dns.failed == 0
    if predicted.established is not None:
        seen = (result.tcp.established, result.drop_threshold, result.bottleneck)
        assert (predicted.established, predicted.drop_threshold, predicted.bottleneck) == seen
    _seen[predicted.established is None, predicted.bottleneck, bool(result.stops)] += 1
