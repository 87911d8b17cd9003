"""`lab report`: runs as one page to read, to show and to print, and their figures as files."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.show import say
from lab.errors import UsageError
from lab.kernel.invoker import as_invoker
from lab.kernel.outputs import write_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.report.page import Picture
    from lab.runs import Run

__all__ = ["register"]

_STDOUT = "-"
_LAST = "last"
_KB = 1000


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(report)


def report(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Recorded runs, as lab runs lists them; the last one unless given.", metavar="RUN"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="The page; RUN.html here unless given; - is standard output, alone.",
            metavar="FILE.html|-",
        ),
    ] = None,
    plots: Annotated[
        str | None,
        typer.Option(help="Write the figures there as well, each as PNG and as SVG.", metavar="DIR"),
    ] = None,
) -> None:
    """One page of a run, or of several side by side: figures, verdict, tables, environment, and how to make it again.

    The page is one file without anything from elsewhere: it opens offline, light or dark, and prints.

    \b
    lab report                                      the last run
    lab report last -o report.html --plots figures
    lab report last~2 last~1 last -o three.html     side by side, the oldest first
    lab report last -o - > report.html
    """
    from lab.report import require_matplotlib
    from lab.runs import load

    with as_invoker():
        recorded = [load(run) for run in runs or [_LAST]]
    require_matplotlib()
    page, files = _drawn(recorded, plots=plots is not None)
    if output == _STDOUT:
        typer.echo(page, nl=False)
    path = Path(f"{recorded[0].id}.html" if output is None else output)
    if output != _STDOUT:
        write_output("-o", path, page.encode())
    if plots is not None:
        _write_plots(Path(plots), files)
    if output != _STDOUT:
        _tell(path, recorded, len(page))
        if plots is not None:
            say(f"{plots}: {len(files)} files, each figure as PNG and as SVG")


def _drawn(runs: Sequence[Run], *, plots: bool) -> tuple[str, list[Picture]]:
    """With the rights of this process: the user may not be allowed to read the modules that this takes."""
    from lab.report.page import page, pictures

    return page(runs), list(pictures(runs)) if plots else []


def _write_plots(directory: Path, files: Iterable[Picture]) -> None:
    try:
        with as_invoker():
            directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--plots {directory}: cannot be made: {error.strerror}; give another directory") from None
    for file in files:
        write_output("--plots", directory / file.name, file.content)


def _tell(path: Path, runs: Sequence[Run], size: int) -> None:
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs side by side"
    say(f"{path}: {what}, {size / _KB:,.0f} kB, everything in one file")
    say(f"next: open it in a browser: xdg-open {quote(str(path))}", style="dim")
