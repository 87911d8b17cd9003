"""How functions share a burst, against a list of every invocation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.capacity.predict import predict
from lab.capacity.shares import Shares
from lab.errors import UsageError
from tests.support.topologies import shipped


@given(st.lists(st.none() | st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 60))
def test_against_a_list(most: list[int | None], invocations: int) -> None:
    """Whose each connection is, how many a function has among the first ones, and where each is in the row."""
    shares = Shares(len(most), tuple(most))
    row: list[tuple[int, int]] = []
    for invocation in range(invocations):
        round_, function = divmod(invocation, len(most))
        cap = most[function]
        if cap is None or round_ < cap:
            row.append((function, round_))
    for function in range(len(most)):
        assert shares.admitted(function, invocations) == sum(each == function for each, _ in row)
        for m in range(len(row) + 1):
            assert shares.taking(function, m) == sum(each == function for each, _ in row[:m])
    assert [shares.place(*each) for each in row] == list(range(len(row)))


def test_a_noisy_neighbour() -> None:
    """The numbers in the header of two_functions.yaml."""
    found = predict(shipped("two_functions"), 120_000, source=("checkout", "reports"))
    assert (found.established, found.drop_threshold, found.bottleneck) == (65_000, 65_000, "hyperplane_eni")
    checkout, reports = found.functions
    assert (checkout.offered, checkout.throttled, checkout.established) == (60_000, 0, 55_000)
    assert (reports.offered, reports.throttled, reports.established) == (60_000, 50_000, 10_000)


@pytest.mark.parametrize(
    ("functions", "complaint"),
    [
        (("checkout", "checkout"), "--function checkout: given twice"),
        (("checkout", "payment"), "no function 'payment'; known: checkout, reports"),
    ],
)
def test_nonsense(functions: tuple[str, ...], complaint: str) -> None:
    """A function that is not there, or given twice, is refused."""
    with pytest.raises(UsageError, match=complaint):
        predict(shipped("two_functions"), 10, source=functions)
