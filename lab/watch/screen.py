"""A view as lines of text: for a terminal as many as fit, for a pipe one.

Nothing is said by colour alone: what is full says FULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

from rich.text import Text

from lab.graph import Drawing, to_text
from lab.graph.text import gauge
from lab.watch.view import Gauge, View

__all__ = ["line", "screen"]

_PLAIN, _BOLD, _ALARM, _SOFT = "", "bold", "bold red", "dim"
_HELP = "Ctrl-C ends this"
_COLUMNS = ("connections", "new/s", "refused/s", "refused")
_LEAST = (0, 8, 10, 9)
"""How wide columns of numbers are at least, so that they stay where they are."""
_FULL = 5
_SHORTEST_BAR, _LONGEST_BAR = 5, 40
_SHORTEST_LABEL = 12


def screen(shown: View, drawing: Drawing, width: int, height: int, clock: Callable[[float], str]) -> list[Text]:
    """At most `height` lines of at most `width` characters; `clock` writes a Unix time."""
    head = [_title(shown, clock, width)]
    foot = [*_states(shown), *_verdict(shown, width), *_impairments(shown)]
    picture = _picture(drawing, width)
    table = _Table(shown.gauges, width)
    gauges = table.lines()
    room = height - len(head) - len(foot) - 2  # a line before gauges, and one for their titles
    if len(gauges) + len(picture) + 1 > room:
        parts = sum(gauge.part for gauge in shown.gauges)
        if not parts or len(gauges) - parts + 1 + len(picture) + 1 > room:
            picture = []
    room -= len(picture) + 1 if picture else 0
    body = [Text(), *picture] if picture else []
    lines = [*head, *body, Text(), table.titles(), *_fitting(shown.gauges, gauges, room), *foot][:height]
    for text in lines:
        text.truncate(width, overflow="ellipsis")
    return lines


def line(shown: View, clock: Callable[[float], str]) -> str:
    """One line for a program to read: words with `=`, numbers without commas, `FULL=` last and only if any is."""
    full = ",".join(name for name, occupancy in shown.nodes.items() if occupancy.full)
    half_open = [f"{name.replace(' ', '/')}:{fill.half_open_slots}" for name, fill in shown.states if fill.half_open]
    words = (
        clock(shown.at_s),
        f"new/s={_rate(shown.rates.new_per_s or 0)}",
        f"refused/s={_rate(shown.rates.refused_per_s)}",
        *(f"{name}={held.held}/{'-' if held.limit is None else held.limit}" for name, held in shown.nodes.items()),
        *((f"half-open={','.join(half_open)}",) if half_open else ()),
        *((f"FULL={full}",) if full else ()),
    )
    return " ".join(words)


def _rate(per_s: float, thousands: str = "") -> str:
    """Whole connections per second; where that would be 0 and is not, one digit: 1 in 3 s is 0.3."""
    return f"{per_s:.1g}" if 0 < per_s < 1 else f"{per_s:{thousands}.0f}"


# ── Head and foot ───────────────────────────────────────────────────────────────────────────────────────────


def _title(shown: View, clock: Callable[[float], str], width: int) -> Text:
    refused = shown.rates.refused_per_s
    title = Text.assemble(
        (f"lab {shown.lab}", _BOLD),
        f"  {clock(shown.at_s)}  ",
        (f"{_rate(shown.rates.new_per_s or 0, ',')} new/s", _BOLD),
        "  ",
        (f"{_rate(refused, ',')} refused/s", _ALARM if refused else _BOLD),
    )
    room = width - len(title)
    return title.append(f"{_HELP:>{room}}", _SOFT) if room > len(_HELP) else title


def _states(shown: View) -> Iterator[Text]:
    """What is held and not established, of the first limiter, and how many more there are."""
    if shown.states:
        (name, fill), *more = shown.states
        others = f" … and {len(more)} more" if more else ""
        yield Text()
        yield Text.assemble((f"{name}: ", _SOFT), (f"{fill.text}{others}", _BOLD))


def _verdict(shown: View, width: int) -> Iterator[Text]:
    """On two lines, if it takes as many."""
    if shown.verdict is not None:
        said = "last burst: "
        first, *more = wrap(f"{said}{shown.verdict}", max(width, len(said) + 1), max_lines=2, placeholder=" …")
        yield Text()
        yield Text.assemble((said, _SOFT), (first.removeprefix(said.rstrip()).lstrip(), _BOLD))
        yield from (Text(rest, _BOLD) for rest in more)


def _impairments(shown: View) -> Iterator[Text]:
    if shown.impairments:
        first, *more = shown.impairments
        others = f" … and {len(more)} more" if more else ""
        yield Text.assemble(("impaired: ", _SOFT), (f"{first}{others}", _BOLD))


# ── The drawing ─────────────────────────────────────────────────────────────────────────────────────────────


def _picture(drawing: Drawing, width: int) -> list[Text]:
    """The drawing with each FULL marked; nothing if it is too wide, for half of it would mislead."""
    lines = [Text(text) for text in to_text(drawing, compact=True).splitlines()]
    for text in lines:
        text.highlight_words(["FULL"], _ALARM)
    return lines if max(map(len, lines)) <= width else []


# ── Gauges ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Table:
    """Gauges, one below the other, in columns that fit into a width: the last columns go where there is no room."""

    def __init__(self, gauges: Sequence[Gauge], width: int) -> None:
        self._gauges = gauges
        widest = [max(map(len, column)) for column in zip(_COLUMNS, *map(_numbers, gauges), strict=True)]
        most = max((len(_share_of_all(shown)) for shown in gauges), default=0)
        widest[0] = max(widest[0], most)
        self._numbers = [max(least, wide + 2) for least, wide in zip(_LEAST, widest, strict=True)]
        label = max((len(_label(shown)) for shown in gauges), default=0)
        while len(self._numbers) > 1 and self._rest(width) < label + _SHORTEST_BAR:
            self._numbers.pop()
        self._label = min(label, max(_SHORTEST_LABEL, self._rest(width) - _SHORTEST_BAR))
        self._bar = max(0, min(_LONGEST_BAR, self._rest(width) - self._label))

    def _rest(self, width: int) -> int:
        return width - sum(self._numbers) - _FULL - 2

    def titles(self) -> Text:
        """The line of column titles above the gauges."""
        numbers = "".join(f"{title:>{wide}}" for title, wide in zip(_COLUMNS, self._numbers, strict=False))
        return Text(f"{'':{self._label}} {'':{self._bar}} {'':{_FULL}}{numbers}", _SOFT)

    def lines(self) -> list[Text]:
        """One line of text for each gauge."""
        return [self._line(shown) for shown in self._gauges]

    def _line(self, shown: Gauge) -> Text:
        held = shown.occupancy
        share = "FULL" if held.full else "" if held.limit is None else f"{int(held.share * 100)}%"
        style = _ALARM if held.full else _PLAIN if shown.part else _BOLD
        numbers = [f"{text:>{wide}}" for text, wide in zip(_numbers(shown), self._numbers, strict=False)]
        return Text.assemble(
            (f"{_shortened(_label(shown), self._label):{self._label}} ", _PLAIN if shown.part else _BOLD),
            (f"{'' if held.limit is None else gauge(held, self._bar):{self._bar}} {share:<{_FULL}}", style),
            "".join(numbers[:2]),
            ("".join(numbers[2:]), _ALARM if shown.rates.refused_per_s else _PLAIN),
        )


def _label(shown: Gauge) -> str:
    return f" {shown.label}" if shown.part else shown.label


def _numbers(shown: Gauge) -> tuple[str, ...]:
    held, rates = shown.occupancy, shown.rates
    return (
        f"{held.held:,}" if held.limit is None else f"{held.held:,} of {held.limit:,}",
        "" if rates.new_per_s is None else _rate(rates.new_per_s, ","),
        _rate(rates.refused_per_s, ","),
        f"{held.refused:,}",
    )


def _share_of_all(shown: Gauge) -> str:
    """What is in the first column once it is full."""
    limit = shown.occupancy.limit
    return "" if limit is None else f"{limit:,} of {limit:,}"


def _shortened(label: str, width: int) -> str:
    return label if len(label) <= width else f"{label[: width - 1]}…"


def _fitting(gauges: Sequence[Gauge], lines: Sequence[Text], room: int) -> list[Text]:
    """All of them, or those of whole nodes, or as many as fit, and how many more there are."""
    if len(lines) <= room:
        return list(lines)
    chosen = [number for number, shown in enumerate(gauges) if not shown.part]
    if len(chosen) + 1 > room:
        chosen = chosen[: max(0, room - 1)]
    left = [shown for number, shown in enumerate(gauges) if number not in chosen]
    full = sum(shown.occupancy.full for shown in left)
    more = Text(f"… and {len(left)} more in a taller window", _SOFT)
    if full:
        more = Text.assemble(more, f", {full} of them ", ("FULL", _ALARM))
    return [*(lines[number] for number in chosen), more]
