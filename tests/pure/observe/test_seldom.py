"""What costs time is asked seldom."""

from __future__ import annotations

from lab.observe.seldom import Seldom


def test_seldom() -> None:
    """What takes long is asked again only after its time."""
    asked: list[float] = []
    clock = {"now": 0.0}

    def ask() -> int:
        asked.append(clock["now"])
        return len(asked)

    seldom = Seldom(ask, 5, lambda: clock["now"])
    said = []
    for clock["now"] in (0.0, 0.25, 4.9, 5.0, 9.0, 11.0):
        said.append(seldom())
    assert said == [1, 1, 1, 2, 2, 3]
    assert asked == [0.0, 5.0, 11.0]


def test_seldom_and_slow() -> None:
    """A function that is slow is asked so seldom that it takes no more than its share of the time."""
    clock = {"now": 0.0}

    def ask() -> float:
        clock["now"] += 1.0
        return clock["now"]

    seldom = Seldom(ask, 5, lambda: clock["now"], share=0.1)
    said = []
    for clock["now"] in (0.0, 5.0, 9.9, 10.0):
        said.append(seldom())
    assert said == [1.0, 1.0, 1.0, 11.0]
