"""Any number of limits in a row: the arithmetic of a prediction against connections counted one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.capacity.predict import predict
from tests.support.examples import examples
from tests.support.one_by_one import CHOICES, LIMITS, Counted, counted, paths_through
from tests.support.topologies import shipped


@examples(200)
@given(limits=LIMITS, chosen=CHOICES, connections=st.integers(1, 60))
def test_as_counted_one_by_one(limits: dict[tuple[str, int], int], chosen: list[list[int]], connections: int) -> None:
    """Paths that share nodes, up to four limits each: established, threshold and refusals are those of counting."""
    paths = paths_through(limits, chosen)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lab.capacity.predict.paths", lambda *_: paths)
        predicted = predict(shipped("tiny"), connections)
    refused = {load.node: load.refused for load in predicted.limiters if load.refused}
    assert Counted(predicted.established or 0, predicted.drop_threshold, refused) == counted(paths, connections)
