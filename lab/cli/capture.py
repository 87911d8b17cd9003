"""`lab capture`: packets into a file that wireshark opens, from one interface or from the whole path at once."""

from __future__ import annotations

from contextlib import contextmanager
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import LabName
from lab.cli.show import notice, number, print_json, say, table
from lab.errors import KernelError, UsageError
from lab.kernel.outputs import open_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from lab.capture.recording import Outcome

__all__ = ["register"]

_STDOUT = "-"
_MOST_BYTES = 262_144
"""tcpdump's own default: more than any packet has."""
_FEWEST_BYTES = 14


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(capture)


def capture(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Where to listen: all interfaces of a node, or one; everywhere on the way unless given.",
            metavar="NODE[:INTERFACE]",
        ),
    ] = None,
    *,
    file: Annotated[
        str,
        typer.Option("-w", help="The file, in pcapng format; - is standard output.", metavar="FILE|-"),
    ],
    dropped: Annotated[
        bool,
        typer.Option("--dropped", help="Only what a limit of connections refused, at these nodes or at all."),
    ] = False,
    expression: Annotated[
        str | None,
        typer.Option("--filter", help="Only packets that match, as for tcpdump.", metavar="EXPRESSION"),
    ] = None,
    packets: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many packets.", metavar="N")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="End after so long.", metavar="S")] = None,
    snap_bytes: Annotated[
        int,
        typer.Option(
            "--snaplen",
            min=_FEWEST_BYTES,
            max=_MOST_BYTES,
            help="Keep only so many bytes of each packet; 96 have all headers.",
            metavar="BYTES",
        ),
    ] = _MOST_BYTES,
    lab: LabName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say in one JSON document what came of it; not with -w -.")
    ] = False,
) -> None:
    """Write packets to a file that wireshark and tshark open, until Ctrl-C, --count or --seconds.

    Without NODE it listens at every interface between functions and servers at once. Each is an interface of the file,
    such as eni-private-a:vpc, so one file shows a SYN at every step of its way, and where it stops.

    \b
    sudo lab capture -w path.pcapng                     the whole path; then, elsewhere: sudo lab burst -n 40
    sudo lab capture eni-private-a natgw:inet -w some.pcapng
    sudo lab capture --dropped -w dropped.pcapng        what limits refused, and nothing else
    sudo lab capture --filter 'tcp port 443' --snaplen 96 --seconds 10 -w syns.pcapng
    sudo lab capture natgw -w - | tshark -r -
    """
    _require_sense(file, dropped=dropped, expression=expression, seconds=seconds, as_json=as_json)
    from lab.lab import Lab

    live_lab = Lab.find(lab).require_complete()
    listening = live_lab.capture(*nodes or (), dropped=dropped, expression=expression, snap_bytes=snap_bytes)
    # The file is opened last: a capture that cannot listen leaves none, and Ctrl-C ends the wait for a pipe's reader.
    with listening as heard, _opened(file) as descriptor, _asked_to_end() as asked:
        notice(f"listening: {heard.what}, into {_name(file)}; Ctrl-C ends it")
        with _progress() as progress:
            outcome = heard.record(descriptor, packets=packets, seconds=seconds, asked_to_end=asked, progress=progress)
    _tell(outcome, file, as_json=as_json)


def _require_sense(file: str, *, dropped: bool, expression: str | None, seconds: float | None, as_json: bool) -> None:
    """Refuse what cannot be, before anything is opened."""
    if dropped and expression is not None:
        raise UsageError(
            "--filter and --dropped: what was dropped is filtered when the file is read: tshark -r FILE -Y …"
        )
    if seconds is not None and not seconds > 0:
        raise UsageError(f"--seconds {seconds:g}: more than 0")
    if file == _STDOUT and as_json:
        raise UsageError("--json and -w -: both are for standard output")
    if file == _STDOUT and sys.stdout.isatty():
        raise UsageError("-w -: packets are no text for a terminal; pipe them: lab capture … -w - | tshark -r -")


@contextmanager
def _opened(file: str) -> Iterator[int]:
    """The file's descriptor; the file is the user's, and made with the user's rights only."""
    if file == _STDOUT:
        yield sys.stdout.fileno()
        return
    descriptor = open_output("-w", file)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, or the process was told to end; the second time it ends at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup(1)
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """How many packets so far, on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("no packets yet", refresh_per_second=4) as status:
        yield lambda packets: status.update(f"{packets:,} packets")


def _name(file: str) -> str:
    return "standard output" if file == _STDOUT else file


def _tell(outcome: Outcome, file: str, *, as_json: bool) -> None:
    """Print how many packets were written; on standard error when the packets go to standard output."""
    from lab.capture.recording import End

    if as_json:
        print_json(outcome.to_json(file))
    else:
        _say(outcome, file)
    if outcome.end is End.NO_ROOM and outcome.refusal is not None:
        raise KernelError(f"{_name(file)}: {outcome.refusal.strerror}; it ends there, with {outcome.packets:,} packets")


def _say(outcome: Outcome, file: str) -> None:
    from lab.capture.recording import End

    rows = [(interface.name, interface.packets, interface.dropped) for interface in outcome.interfaces]
    lost = f", {number(outcome.dropped)} more there was no room for" if outcome.dropped else ""
    if outcome.gone and outcome.end is not End.GONE:
        notice(f"taken away meanwhile: {', '.join(outcome.gone)}")
    summary = f"{number(outcome.packets)} packets in {_name(file)}{lost}; {outcome.end.value}"
    if file != _STDOUT:
        table(("interface", "#packets", "#no room for"), rows)
        say(summary)
        return
    for name, packets, dropped in rows:
        notice(f"{name}: {number(packets)} packets, no room for {number(dropped)}")
    notice(summary)
