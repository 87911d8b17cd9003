"""`lab watch`: a lab's limiters and rates as they change, on a terminal four times a second, in a pipe line by line."""

from __future__ import annotations

from contextlib import suppress
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli import streams
from lab.cli.options import LabName
from lab.cli.show import clock, notice
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from lab.runs import Run
    from lab.watch import Pace
    from lab.watch.live import Seen, Watched

__all__ = ["LastVerdict", "register"]

_ON_A_TERMINAL_S, _IN_A_PIPE_S = 0.25, 1.0
_SHORTEST_S, _LONGEST_S = 0.1, 3600.0
_SHARE_OF_TIME = 0.04
"""What watching may take of a processor, at most: kernels before 6.16 count a set's elements by walking."""
_FIRST_S = 0.25
"""Between the first two samples, without which there is no rate."""
_RESIZED_WITHIN_S = 0.25


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(watch)


def watch(
    *,
    lab: LabName = None,
    interval: Annotated[
        float | None,
        typer.Option(help="How often, in seconds: 0.25 on a terminal, 1 in a pipe unless given.", metavar="S"),
    ] = None,
) -> None:
    """Watch a lab: the drawing with live numbers, a gauge for every limit, connections made and refused per second.

    Ctrl-C ends it. In a pipe it writes a line for each interval.

    \b
    sudo lab watch
    sudo lab watch --lab two-subnets --interval 1
    sudo lab watch | grep FULL
    """
    from rich.console import Console

    from lab.lab import Lab

    if interval is not None and not _SHORTEST_S <= interval <= _LONGEST_S:
        raise UsageError(f"--interval {interval:g}: from {_SHORTEST_S:g} to {_LONGEST_S:,.0f} seconds")
    live_lab = Lab.find(lab).require_complete()
    with suppress(KeyboardInterrupt), live_lab.losses_named(), live_lab.watch(LastVerdict(live_lab.name)) as watched:
        console = Console(highlight=False, emoji=False)
        if console.is_terminal and not console.is_dumb_terminal:
            _on_terminal(watched, console, interval or _ON_A_TERMINAL_S)
        else:
            _in_pipe(watched, interval or _IN_A_PIPE_S)
    if live_lab.gone:
        notice(f"lab {live_lab.name} has been taken down")


# ── Beside the numbers ──────────────────────────────────────────────────────────────────────────────────────


class LastVerdict:
    """What the last burst that was recorded in a lab of a name came to, read when there is another record."""

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._changed_ns: int | None = None
        self._said: str | None = None

    def __call__(self) -> str | None:
        """The verdict in one line; None while there is none."""
        from lab import runs

        try:
            changed_ns = runs.default_directory().stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                run = runs.newest_of(self._lab)
                self._changed_ns, self._said = changed_ns, None if run is None else _told(run, time.time())
        except OSError:  # no burst has left a record yet, or they cannot be read
            return None
        return self._said


def _told(run: Run, now_s: float) -> str:
    """When the burst began (with the day unless that is today), its connections, and the verdict's headline."""
    from lab.diagnosis.verdict import judge

    began, today = time.localtime(run.began_s), time.localtime(now_s)
    when = time.strftime("%H:%M:%S" if began[:3] == today[:3] else "%Y-%m-%d %H:%M", began)
    tcp = run.result.tcp
    return f"{when} {tcp.established:,} of {tcp.attempted:,} established; {judge(run.result).headline}"


def _looks(watched: Watched, interval_s: float) -> Iterator[tuple[Seen, Pace]]:
    """What is to be seen until the lab is taken down, each with how long to wait before the next.

    The first look loads modules and the last burst's record, 0.1 to 0.3 s of a processor that no later one takes.
    """
    from lab.watch import Pace

    seen, pace = watched.look(), Pace(interval_s, _SHARE_OF_TIME, time.monotonic, time.process_time)
    while seen is not None:
        yield seen, pace
        pace.begin()
        seen = watched.look()


# ── On a terminal ───────────────────────────────────────────────────────────────────────────────────────────


def _on_terminal(watched: Watched, console: Console, interval_s: float) -> None:
    from rich.live import Live

    with Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
    ) as live:
        time.sleep(_FIRST_S)
        picture = _Picture(live)
        for seen, pace in _looks(watched, interval_s):
            picture.show(seen)
            if streams.refusal():
                return
            until_s = time.monotonic() + pace.rest_s()
            while (rest_s := until_s - time.monotonic()) > 0:
                time.sleep(min(rest_s, _RESIZED_WITHIN_S))
                picture.fit(seen)


class _Picture:
    """What is on the terminal: drawn again only when it is another, for that takes longer than looking."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._size = live.console.size
        self._lines: list[Text] = []

    def show(self, seen: Seen) -> None:
        """Show what is seen now."""
        from rich.text import Text

        from lab.watch import screen

        size = self._live.console.size
        lines = screen(seen.view, seen.drawing, size.width, size.height, clock)
        if (size, lines) != (self._size, self._lines):
            self._size, self._lines = size, lines
            self._live.update(Text("\n", no_wrap=True, overflow="crop").join(lines), refresh=True)

    def fit(self, seen: Seen) -> None:
        """Show it again if the terminal has another size by now."""
        if self._live.console.size != self._size:
            self.show(seen)


# ── In a pipe ───────────────────────────────────────────────────────────────────────────────────────────────


def _in_pipe(watched: Watched, interval_s: float) -> None:
    from lab.watch import line

    time.sleep(min(_FIRST_S, interval_s))
    for seen, pace in _looks(watched, interval_s):
        sys.stdout.write(f"{line(seen.view, _moment)}\n")
        if streams.refusal():  # the reader, such as `head`, has closed the pipe
            return
        time.sleep(pace.rest_s())


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at_s))
