"""The table of `lab burst --engine scapy`: each packet at each place, a line each, as it happens."""

from __future__ import annotations

from contextlib import contextmanager
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from lab.cli.show import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traffic.packet_record import PacketRecord

__all__ = ["lines", "packet_table"]

_ROW = "{:>3} {:>9} {:13} {:4} {:7} "
_TITLE = "what it means"
_NARROWEST = 20

_LOST = "bold red"
_STYLES = {"SYN": "yellow", "SYN-ACK": "green", "DNS": "cyan", "RST": "red", "RST-ACK": "red"}


@contextmanager
def packet_table() -> Iterator[Callable[[PacketRecord], None]]:
    """A table that grows by a row each time that what is given is called."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    say(_ROW.format("#", "seconds", "where", "", "flags") + _TITLE, style="bold")

    def show(record: PacketRecord) -> None:
        style = _LOST if record.direction == "lost" else _STYLES.get(record.flags)
        for line in lines(record, width):
            say(line, style=style)

    yield show
    say()


def lines(record: PacketRecord, width: int | None = None) -> Iterator[str]:
    """A row, and on a terminal that is too narrow what follows it below its last column."""
    head = _ROW.format(record.connection, f"{record.t_s:.6f}", record.node, record.direction, record.flags)
    if width is None:
        yield head + record.meaning
    else:
        indent = len(_ROW.format("", "", "", "", ""))
        yield from textwrap.wrap(
            record.meaning, max(width, indent + _NARROWEST), initial_indent=head, subsequent_indent=" " * indent
        )
