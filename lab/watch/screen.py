"""A view as lines of text: for a terminal as many as fit, for a pipe one.

Nothing is said by colour alone: what is full says FULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap
from typing import Literal, NamedTuple

from lab.graph import Drawing, to_text
from lab.graph.text import gauge
from lab.watch.view import Gauge, View

__all__ = ["Line", "Span", "Style", "line", "screen"]

Style = Literal["plain", "bold", "alarm", "soft"]


class Span(NamedTuple):
    """Some text in one style."""

    text: str
    style: Style = "plain"


Line = tuple[Span, ...]

_HELP = "Ctrl-C ends this"
_COLUMNS = ("connections", "new/s", "refused/s", "refused")
_LEAST = (0, 8, 10, 9)
"""How wide columns of numbers are at least, so that they stay where they are."""
_FULL = 5
_SHORTEST_BAR, _LONGEST_BAR = 5, 40
_SHORTEST_LABEL = 12


def screen(shown: View, drawing: Drawing, width: int, height: int, clock: Callable[[float], str]) -> list[Line]:
    """At most `height` lines of at most `width` characters; `clock` writes a Unix time."""
    head = [_title(shown, clock, width)]
    foot = [*_verdict(shown, width), *_impairments(shown)]
    picture = _picture(drawing, width)
    table = _Table(shown.gauges, width)
    gauges = table.lines()
    room = height - len(head) - len(foot) - 2  # a line before gauges, and one for their titles
    if len(gauges) + len(picture) + 1 > room:
        parts = sum(each.part for each in shown.gauges)
        if not parts or len(gauges) - parts + 1 + len(picture) + 1 > room:
            picture = []
    room -= len(picture) + 1 if picture else 0
    body = [(Span(""),), *picture] if picture else []
    lines = [*head, *body, (Span(""),), table.titles(), *_fitting(shown.gauges, gauges, room), *foot]
    return [_cut(each, width) for each in lines[:height]]


def line(shown: View, clock: Callable[[float], str]) -> str:
    """One line for a program to read: words with `=`, numbers without commas, `FULL=` last and only if any is."""
    full = ",".join(name for name, each in shown.nodes.items() if each.full)
    words = (
        clock(shown.at_s),
        f"new/s={shown.rates.new_per_s or 0:.0f}",
        f"refused/s={shown.rates.refused_per_s:.0f}",
        *(f"{name}={each.held}/{'-' if each.limit is None else each.limit}" for name, each in shown.nodes.items()),
        *((f"FULL={full}",) if full else ()),
    )
    return " ".join(words)


# ── Head and foot ───────────────────────────────────────────────────────────────────────────────────────────


def _title(shown: View, clock: Callable[[float], str], width: int) -> Line:
    refused = shown.rates.refused_per_s
    title: Line = (
        Span(f"lab {shown.lab}", "bold"),
        Span(f"  {clock(shown.at_s)}  "),
        Span(f"{shown.rates.new_per_s or 0:,.0f} new/s", "bold"),
        Span("  "),
        Span(f"{refused:,.0f} refused/s", "alarm" if round(refused) else "bold"),
    )
    room = width - sum(len(span.text) for span in title)
    return (*title, Span(f"{_HELP:>{room}}", "soft")) if room > len(_HELP) else title


def _verdict(shown: View, width: int) -> Iterator[Line]:
    """On two lines, if it takes as many."""
    if shown.verdict is not None:
        said = "last burst: "
        first, *more = wrap(f"{said}{shown.verdict}", max(width, len(said) + 1), max_lines=2, placeholder=" …")
        yield (Span(""),)
        yield (Span(said, "soft"), Span(first.removeprefix(said.rstrip()).lstrip(), "bold"))
        yield from ((Span(each, "bold"),) for each in more)


def _impairments(shown: View) -> Iterator[Line]:
    if shown.impairments:
        first, *more = shown.impairments
        others = f" … and {len(more)} more" if more else ""
        yield (Span("impaired: ", "soft"), Span(f"{first}{others}", "bold"))


# ── The drawing ─────────────────────────────────────────────────────────────────────────────────────────────


def _picture(drawing: Drawing, width: int) -> list[Line]:
    """Nothing if it is too wide: half of it would mislead."""
    lines = to_text(drawing, compact=True).splitlines()
    return [_marked(each) for each in lines] if max(map(len, lines)) <= width else []


def _marked(text: str) -> Line:
    """With what is full marked."""
    spans: list[Span] = []
    for number, part in enumerate(text.split("FULL")):
        spans += [Span("FULL", "alarm")] if number else []
        spans.append(Span(part))
    return tuple(spans)


# ── Gauges ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Table:
    """Gauges, one below the other, in columns that fit into a width: the last columns go where there is no room."""

    def __init__(self, gauges: Sequence[Gauge], width: int) -> None:
        self._gauges = gauges
        widest = [max(map(len, column)) for column in zip(_COLUMNS, *map(_numbers, gauges), strict=True)]
        most = max((len(_share_of_all(each)) for each in gauges), default=0)
        widest[0] = max(widest[0], most)
        self._numbers = [max(least, wide + 2) for least, wide in zip(_LEAST, widest, strict=True)]
        label = max((len(_label(each)) for each in gauges), default=0)
        while len(self._numbers) > 1 and self._rest(width) < label + _SHORTEST_BAR:
            self._numbers.pop()
        self._label = min(label, max(_SHORTEST_LABEL, self._rest(width) - _SHORTEST_BAR))
        self._bar = max(0, min(_LONGEST_BAR, self._rest(width) - self._label))

    def _rest(self, width: int) -> int:
        return width - sum(self._numbers) - _FULL - 2

    def titles(self) -> Line:
        """The line above."""
        numbers = "".join(f"{title:>{wide}}" for title, wide in zip(_COLUMNS, self._numbers, strict=False))
        return (Span(f"{'':{self._label}} {'':{self._bar}} {'':{_FULL}}{numbers}", "soft"),)

    def lines(self) -> list[Line]:
        """One for each gauge."""
        return [self._line(each) for each in self._gauges]

    def _line(self, each: Gauge) -> Line:
        held = each.occupancy
        share = "FULL" if held.full else "" if held.limit is None else f"{int(held.share * 100)}%"
        style: Style = "alarm" if held.full else "plain" if each.part else "bold"
        numbers = [f"{text:>{wide}}" for text, wide in zip(_numbers(each), self._numbers, strict=False)]
        return (
            Span(f"{_shortened(_label(each), self._label):{self._label}} ", "plain" if each.part else "bold"),
            Span(f"{'' if held.limit is None else gauge(held, self._bar):{self._bar}} {share:<{_FULL}}", style),
            Span("".join(numbers[:2])),
            Span("".join(numbers[2:]), "alarm" if round(each.rates.refused_per_s) else "plain"),
        )


def _label(each: Gauge) -> str:
    return f" {each.label}" if each.part else each.label


def _numbers(each: Gauge) -> tuple[str, ...]:
    held, rates = each.occupancy, each.rates
    return (
        f"{held.held:,}" if held.limit is None else f"{held.held:,} of {held.limit:,}",
        "" if rates.new_per_s is None else f"{rates.new_per_s:,.0f}",
        f"{rates.refused_per_s:,.0f}",
        f"{held.refused:,}",
    )


def _share_of_all(each: Gauge) -> str:
    """What is in the first column once it is full."""
    limit = each.occupancy.limit
    return "" if limit is None else f"{limit:,} of {limit:,}"


def _shortened(label: str, width: int) -> str:
    return label if len(label) <= width else f"{label[: width - 1]}…"


def _fitting(gauges: Sequence[Gauge], lines: Sequence[Line], room: int) -> list[Line]:
    """All of them, or those of whole nodes, or as many as fit, and how many more there are."""
    if len(lines) <= room:
        return list(lines)
    both = list(zip(gauges, lines, strict=True))
    chosen = [one for one in both if not one[0].part]
    if len(chosen) + 1 > room:
        chosen = chosen[: max(0, room - 1)]
    kept = {id(each) for each, _ in chosen}
    left = [each for each in gauges if id(each) not in kept]
    full = sum(each.occupancy.full for each in left)
    more = f"… and {len(left)} more in a taller window"
    alarm = (Span(f", {full} of them "), Span("FULL", "alarm")) if full else ()
    return [*(text for _, text in chosen), (Span(more, "soft"), *alarm)]


def _cut(of: Line, width: int) -> Line:
    """What fits into a line; a text that does not ends with `…`."""
    spans, room = [], width
    for span in of:
        if len(span.text) > room:
            spans.append(Span(_shortened(span.text, room) if room else "", span.style))
            break
        spans.append(span)
        room -= len(span.text)
    return tuple(spans)
