"""The drawing of every topology that ships, beside the text of it that `lab graph` prints, and two in the other forms.

`LAB_UPDATE_GOLDEN=1 pytest tests/golden/test_drawings.py` writes `drawings/*`: look at the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.graph import Drawing, Occupancy, draw, to_dot, to_mermaid, to_svg, to_text
from lab.topology import load
from tests.support.golden import require_golden
from tests.support.topologies import SHIPPED, each_shipped, shipped

DRAWINGS = Path(__file__).parent / "drawings"
LIVE = {
    "eni-private-a": Occupancy(65_000, 65_000, 5_000),
    "eni-private-b": Occupancy(32_500, 65_000, 0),
    "natgw": Occupancy(97_500, 165_000, 0),
}
FORMS = {"mermaid": to_mermaid, "dot": to_dot, "svg": to_svg}


@each_shipped
def test_drawing(path: Path) -> None:
    """A topology that ships is drawn as it is here, to the last line."""
    require_golden(to_text(draw(load(path))), DRAWINGS / f"{path.stem}.txt")


def test_drawing_with_numbers() -> None:
    """What is held, what is full, and what was refused stand in the nodes."""
    require_golden(to_text(draw(shipped("two_subnets"), LIVE)), DRAWINGS / "two_subnets_live.txt")


@pytest.mark.parametrize("form", FORMS)
def test_other_forms(form: str) -> None:
    """Mermaid, DOT and SVG of a lab with numbers are as they are here."""
    write: Callable[[Drawing], str] = FORMS[form]
    require_golden(write(draw(shipped("two_subnets"), LIVE)), DRAWINGS / f"two_subnets_live.{form}")


def test_no_drawing_is_left_over() -> None:
    """Every drawing here is that of a topology that ships."""
    names = {path.stem.removesuffix("_live") for path in DRAWINGS.iterdir()}
    assert names == {path.stem for path in SHIPPED}
