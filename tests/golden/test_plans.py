"""The plan of every topology that ships, beside the text of it that `lab up --dry-run` prints.

`LAB_UPDATE_GOLDEN=1 pytest tests/golden/test_plans.py` writes `plans/NAME.txt`: read the difference.
"""

from __future__ import annotations

from pathlib import Path

from lab.nodes.build import build
from lab.plan import describe
from lab.topology import load
from tests.support.golden import require_golden
from tests.support.topologies import SHIPPED, each_shipped

PLANS = Path(__file__).parent / "plans"


@each_shipped
def test_plan(path: Path) -> None:
    """A topology that ships has the plan that stands here, to the last rule."""
    require_golden(describe(build(load(path))), PLANS / f"{path.stem}.txt")


def test_no_plan_is_left_over() -> None:
    """Every plan here is that of a topology that ships."""
    assert {path.stem for path in PLANS.glob("*.txt")} == {path.stem for path in SHIPPED}
