"""A drawing of a topology, or of a lab that is up with what its limiters hold now."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.graph import Drawing

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(graph)


class Format(StrEnum):
    """What a drawing can be written as."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


def graph(
    context: typer.Context,
    topology: Annotated[
        Path | None,
        typer.Argument(help="A topology file; leave it out for a lab that is up.", metavar="[TOPOLOGY.yaml]"),
    ] = None,
    *,
    lab: Annotated[
        str | None,
        typer.Option("--lab", envvar="LAB_NAME", help="A lab that is up, with its numbers of now.", metavar="NAME"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.TEXT,
    scale: Annotated[int, typer.Option(help="Divide every limit of the file.", metavar="N")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, instead of standard output.", metavar="FILE")
    ] = None,
) -> None:
    """Draw a topology: functions, ENIs, ways out of the VPC, servers, and who leads to whom.

    Without a file it draws the lab that is up, with what every limiter holds and has refused.

    \b
    lab graph topologies/two_subnets.yaml
    lab graph topologies/two_subnets.yaml --format svg -o two_subnets.svg
    lab graph topologies/two_zones.yaml --format dot | dot -Tpdf > two_zones.pdf
    sudo lab graph                   the lab that is up, with its numbers
    sudo lab graph --lab two-subnets --format mermaid
    """
    source = context.get_parameter_source("lab")
    if topology is not None and source is not None and source.name == "COMMANDLINE":
        raise UsageError(f"either a file or a lab that is up: lab graph {topology}, or lab graph --lab {lab}")
    text = _written(_drawing(topology, lab, scale), form)
    if output is None:
        # Not through the console: a drawing is never wrapped, and what another program reads is UTF-8 in any locale.
        typer.echo(text if form is Format.TEXT else text.encode(), nl=False)
        return
    from lab.kernel.outputs import write_output

    write_output("-o", output, text.encode())


def _drawing(topology: Path | None, lab: str | None, scale: int) -> Drawing:
    from lab.graph import draw

    if topology is not None:
        from lab.topology import load, scaled

        return draw(scaled(load(topology), scale))
    if scale != 1:
        raise UsageError("--scale divides the limits of a file; name one: lab graph TOPOLOGY.yaml --scale N")
    from lab.lab import Lab
    from lab.watch import occupancies

    live_lab = Lab.find(lab).require_complete()
    plan = live_lab.plan
    return draw(live_lab.topology, occupancies(plan, live_lab.sample()))


def _written(drawing: Drawing, form: Format) -> str:
    from lab.graph import to_dot, to_mermaid, to_svg, to_text

    return {Format.TEXT: to_text, Format.MERMAID: to_mermaid, Format.DOT: to_dot, Format.SVG: to_svg}[form](drawing)
