"""The result of invocations, and the specs, as values that cross from one process to another."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
import pytest

from traffic.environments.processes import Tail
from traffic.environments.result import (
    EXAMPLE_BYTES,
    EnvironmentUse,
    ErrorCount,
    Failure,
    InvokeResult,
    InvokeSample,
    Output,
    Percentiles,
    percentiles,
)
from traffic.environments.spec import EndSpec, Environment, FleetProgramSpec, Handler, InvokeSpec, Isolation
from traffic.spec import Arrivals, Growth

ISOLATION = Isolation("lab-tiny-fn", ("/run", "/root"), 1_024, "/sys/fs/cgroup/lab")
ENVIRONMENTS = (Environment(30_000, "eni-a", IPv4Address("100.64.0.7")), Environment(0, "eni-b", None))
INVOKE = InvokeSpec(
    function="checkout",
    handler=Handler(("python", "-m", "awslambdaric"), "/code", "app.handler", "python3.13", variables={"A": "1"}),
    isolation=ISOLATION,
    environments=ENVIRONMENTS,
    invocations=10,
    event='{"a": "ü"}',
    arrivals=Arrivals(1.0, 2.0, 3.0),
    growth=Growth(1_000, 100.0),
)


@pytest.mark.parametrize(
    "spec",
    [
        INVOKE,
        replace(INVOKE, growth=None, reserved_concurrency=3, freeze=False, concurrency=8),
        FleetProgramSpec(("curl", "x"), "/code", replace(ISOLATION, cgroup=None), ENVIRONMENTS),
        EndSpec(ISOLATION, ENVIRONMENTS),
    ],
)
def test_specs_survive_json(spec: InvokeSpec | FleetProgramSpec | EndSpec) -> None:
    """A spec that was written as JSON is read back as the same value."""
    assert type(spec).from_json(spec.to_json()) == spec


def test_results_survive_json() -> None:
    """A result that was written as JSON is read back as the same value."""
    result = InvokeResult(
        offered=3,
        ok=1,
        errors=(ErrorCount("ValueError", 1, Failure("ValueError", "no", ("line",))),),
        timed_out=1,
        throttled=0,
        cold_starts=1,
        warm=2,
        peak_environments=1,
        environments=(EnvironmentUse(0, 1, 3),),
        duration=Percentiles(1, 1.0, 1.0, 1.0, 1.0),
        init=None,
        wait=None,
        output=Output(3, 1, "text"),
        answer="{}",
        began_epoch_s=1.0,
        ended_epoch_s=2.0,
        series=(InvokeSample(0.5, 1, 1, 1, 1),),
    )
    assert InvokeResult.from_json(result.to_json()) == result


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_percentiles_are_measured_values(durations_s: list[float]) -> None:
    """Each is one of them, in order; the largest is the largest."""
    found = percentiles(durations_s)
    assert found is not None
    four = (found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms)
    assert list(four) == sorted(four)
    assert set(four) <= {round(each * 1_000, 3) for each in durations_s}
    assert found.max_ms == round(max(durations_s) * 1_000, 3)


def test_percentiles_of_a_hundred() -> None:
    """The nearest rank."""
    assert percentiles(each / 1_000 for each in range(1, 101)) == Percentiles(100, 50.0, 90.0, 99.0, 100.0)
    assert percentiles(()) is None


def test_examples_are_bounded() -> None:
    """However much an error has to say."""
    failure = Failure("T" * 1_000, "m" * 3_000, ("l" * 500,) * 100).bounded()
    assert len(failure.type) == 256
    assert len(failure.message) + sum(map(len, failure.trace)) <= EXAMPLE_BYTES
    assert Failure("", "m").bounded().type == "Unhandled"


@given(st.lists(st.binary(max_size=3_000)))
def test_output_is_bounded(pieces: list[bytes]) -> None:
    """The last 4 KiB are kept, and the lines before them are counted."""
    tail, whole = Tail(), b"".join(pieces)
    for piece in pieces:
        tail.add(piece)
    assert tail.text() == whole[-EXAMPLE_BYTES:].decode(errors="replace")
    assert (tail.lines, tail.dropped) == (whole.count(b"\n"), whole[:-EXAMPLE_BYTES].count(b"\n"))
