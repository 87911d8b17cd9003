"""Sums of a metric between two samples: the same for whoever shows them."""

from __future__ import annotations

import pytest

from lab.metrics import fold, grown, total
from lab.observe.samples import Sample
from lab.runs.compare import compare
from tests.support.runs import explained_run, ran, sample

ERRORS = "ErrorPortAllocation"


def both(one: Sample, other: Sample) -> Sample:
    """The nodes of two samples in one."""
    return Sample(one.at_s, {**one.nodes, **other.nodes})


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (sample(0, refused=7), sample(1, refused=9), 2),  # what was there before does not count
        (None, sample(1, refused=9), 9),  # since it was made
        (sample(0, node="other"), sample(1, refused=9), 9),  # it was made meanwhile
        (sample(0, refused=7), sample(1, node="other"), 0),  # it is gone
        (sample(0, refused=7), sample(1, refused=4), 4),  # it was made anew
    ],
)
def test_one_node(before: Sample | None, after: Sample, counted: int) -> None:
    """No sum is negative, whatever becomes of a node between two samples."""
    assert grown(ERRORS, "natgw", before, after) == counted


def test_several_nodes() -> None:
    """Their sums are added; without samples nothing is known."""
    first = both(sample(0, refused=7), sample(0, refused=1, node="other"))
    last = both(sample(1, refused=9), sample(1, refused=5, node="other"))
    assert total(ERRORS, ("natgw", "other"), (first, last)) == 6
    assert total(ERRORS, (), (first, last)) == 0
    assert total(ERRORS, ("natgw",), ()) is None


def test_whoever_shows_it_shows_the_same() -> None:
    """Comparing, explaining and folding a run to periods come to one number."""
    run = ran("one_subnet", 55_000, 15_000)
    compared = next(each for each in compare(run, run).result if each.what == ERRORS)
    explained = explained_run(run).metrics[0].values
    folded = (each for each in fold(run.samples, run.nodes, run.limiters, 60) if each.metric.name == ERRORS)
    points = sum(point.value for each in folded for point in each.points)
    assert compared.after == explained[ERRORS] == points == 30_000
