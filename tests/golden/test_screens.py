"""What `lab watch` shows of labs whose numbers are made up, beside the text of it on terminals of several sizes.

`LAB_UPDATE_GOLDEN=1 pytest tests/golden/test_screens.py` writes `screens/*.txt`: look at the difference.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
import time

import pytest
from rich.console import Console

from lab.graph import draw
from lab.watch import line, screen
from tests.support.golden import require_golden
from tests.support.topologies import shipped
from tests.support.watching import seen

SCREENS = Path(__file__).parent / "screens"

CASES = [
    ("two_subnets", 80, 24, "idle"),
    ("two_subnets", 80, 24, "full"),
    ("two_subnets", 60, 16, "full"),
    ("seven_subnets_eight_eips", 80, 24, "full"),
    ("seven_subnets_eight_eips", 80, 16, "full"),
    ("seven_subnets_eight_eips", 120, 40, "full"),
    ("two_servers", 80, 24, "full"),
    ("eni_scaling", 80, 24, "full"),
    ("privatelink", 80, 24, "full"),
]


def clock(at_s: float) -> str:
    """The same everywhere."""
    return time.strftime("%H:%M:%S", time.gmtime(at_s))


@pytest.mark.parametrize(("name", "width", "height", "state"), CASES)
def test_screen(name: str, width: int, height: int, state: str) -> None:
    """A lab is shown as it is here, in no more lines than there are, and no longer ones."""
    topology = shipped(name)
    shown = seen(topology, full=state == "full")
    console = Console(file=StringIO(), width=width, height=height, force_terminal=False)
    for shown_line in screen(shown, draw(topology, shown.nodes), width, height, clock):
        console.print(shown_line, no_wrap=True, overflow="crop")
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert len(text.splitlines()) <= height
    require_golden(
        "".join(f"{each.rstrip()}\n" for each in text.splitlines()),
        SCREENS / f"{name}_{width}x{height}_{state}.txt",
    )


def test_line() -> None:
    """In a pipe it is a line of words."""
    assert line(seen(shipped("two_subnets"), full=True), clock) == (
        "10:12:05 new/s=60000 refused/s=14000 "
        "eni-private-a=65000/65000 eni-private-b=64999/65000 natgw=129999/165000 FULL=eni-private-a"
    )


def test_no_screen_is_left_over() -> None:
    """Every screen here is that of a case."""
    assert {path.stem for path in SCREENS.iterdir()} == {f"{name}_{w}x{h}_{state}" for name, w, h, state in CASES}
