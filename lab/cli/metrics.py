"""`lab metrics`: what CloudWatch would show of this lab, what it would not, and both for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import LabName
from lab.cli.show import clock, complain, notice, number, print_json, say, table
from lab.errors import KernelError, PreflightError, UsageError

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.metrics import Series

__all__ = ["register"]

_MINUTE_S = 60
_MOST_PERIODS = 1_000_000
_SOME_COLUMNS = 4
"""How many periods a person sees unless they ask for more."""
_MOST_POINTS = 1_440
"""How many a program gets of each metric: as many as one GetMetricStatistics call, a day of minutes."""
_WIDTH_IN_A_PIPE = 120
_GAP = 2
"""Blanks between two columns of the table."""
_LOOK_EVERY_S = 0.5
_PORTS = range(1, 1 << 16)


class Period(StrEnum):
    """Lengths of periods; those under a minute are CloudWatch's of high resolution, and 60 is a NAT gateway's."""

    minute = "60"
    half = "30"
    ten = "10"
    five = "5"
    second = "1"


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(metrics)


def metrics(
    *,
    lab: LabName = None,
    period: Annotated[
        Period, typer.Option(help="Seconds; CloudWatch has minutes of a NAT gateway, nothing finer.")
    ] = Period.minute,
    last: Annotated[
        int | None,
        typer.Option(
            help="So many periods, the one that is not over yet among them. Unless given: "
            f"{_SOME_COLUMNS}, if they fit; with --json all since up, at most {_MOST_POINTS:,}.",
            metavar="N",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="What CloudWatch's GetMetricData would answer, as JSON.")
    ] = False,
    prometheus: Annotated[
        int | None,
        typer.Option(help="Serve http://127.0.0.1:PORT/metrics until Ctrl-C.", metavar="PORT"),
    ] = None,
) -> None:
    """What CloudWatch shows of the NAT gateways, and beside it what it does not show: the Hyperplane ENIs.

    \b
    sudo lab metrics
    sudo lab metrics --period 1 --last 30
    sudo lab metrics --json | jq '.MetricDataResults[] | select(.Label | contains("ErrorPortAllocation"))'
    sudo lab metrics --prometheus 9464
    """
    from lab.lab import Lab

    _require_sense(last, prometheus, as_json=as_json)
    if prometheus is not None:
        _require_prometheus_client()
    live_lab = Lab.find(lab).require_complete()
    if prometheus is not None:
        _serve(live_lab, prometheus)
        return
    live_lab.resume_collecting(notice)
    period_s = int(period)
    if as_json:
        from lab.metrics.cloudwatch import get_metric_data

        print_json(get_metric_data(live_lab.metrics(period_s, last=last or _MOST_POINTS)))
        return
    _show(live_lab.name, live_lab.metrics(period_s, last=last or _SOME_COLUMNS), period_s, last)


def _require_sense(last: int | None, prometheus: int | None, *, as_json: bool) -> None:
    if last is not None and last < 1:
        raise UsageError(f"--last {last}: at least one period")
    if last is not None and last > _MOST_PERIODS:
        raise UsageError(f"--last: at most {_MOST_PERIODS:,} periods; --json without --last has all")
    if prometheus is None:
        return
    if prometheus not in _PORTS:
        raise UsageError(f"--prometheus {prometheus}: no port; they go from {_PORTS.start} to {_PORTS.stop - 1}")
    if as_json or last is not None:
        other = "--json" if as_json else "--last"
        raise UsageError(f"--prometheus {other}: Prometheus asks for itself, and has its own format; leave out {other}")


# ── For a person ────────────────────────────────────────────────────────────────────────────────────────────


def _show(name: str, series: Sequence[Series], period_s: int, last: int | None) -> None:
    what = "minute" if period_s == _MINUTE_S else "second" if period_s == 1 else f"{period_s} s"
    say(f"lab {name} by the {what}; a column begins at the time above it ({time.strftime('%Z')})")
    fit = min((_fitting(of_node, period_s) for of_node in _by_node(series)), default=1)
    _show_nodes(
        [metric_series for metric_series in series if metric_series.metric.reported], period_s, fit, last or fit
    )
    hidden = [metric_series for metric_series in series if not metric_series.metric.reported]
    if hidden:
        from lab.metrics import NOT_REPORTED

        say()
        say(NOT_REPORTED, style="bold")
        _show_nodes(hidden, period_s, fit, last or fit)
    starts = [metric_series.points[-1].start_s for metric_series in series if metric_series.points]
    if starts:
        say()
        say(f"{_time(max(starts), period_s)} is not over yet", style="dim")


def _by_node(series: Sequence[Series]) -> list[list[Series]]:
    names = dict.fromkeys(metric_series.node for metric_series in series)
    return [[metric_series for metric_series in series if metric_series.node == name] for name in names]


def _show_nodes(series: Sequence[Series], period_s: int, fit: int, last: int) -> None:
    """The last periods of each node, in blocks of as many columns as fit; what does not fill one is the oldest."""
    for mine in _by_node(series):
        points = mine[0].points[-last:]
        ends = range(len(points), 0, -fit) or range(1)
        for end in reversed(ends):
            block = slice(max(end - fit, 0), end)
            say()
            table(
                (mine[0].node, "", *(f"#{_time(point.start_s, period_s)}" for point in points[block])),
                (
                    (
                        metric_series.metric.name,
                        metric_series.metric.statistic.lower(),
                        *(_value(point.value) for point in metric_series.points[-last:][block]),
                    )
                    for metric_series in mine
                ),
            )


def _fitting(series: Sequence[Series], period_s: int) -> int:
    """How many columns of numbers a line has room for."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_IN_A_PIPE
    names = max(len(series[0].node), *(len(metric_series.metric.name) for metric_series in series))
    statistics = max(len(metric_series.metric.statistic) for metric_series in series)
    values = (len(_value(point.value)) for metric_series in series for point in metric_series.points)
    column = max(len(_time(0, period_s)), *values, 0)
    return max(1, (width - names - _GAP - statistics) // (_GAP + column))


def _value(value: float) -> str:
    """Peaks are averages; everything else is a whole number."""
    return number(round(value)) if value >= 10 or value == round(value) else f"{value:.1f}"  # noqa: PLR2004


def _time(at_s: float, period_s: int) -> str:
    return time.strftime("%H:%M", time.localtime(at_s)) if period_s == _MINUTE_S else clock(at_s)


# ── For Prometheus ──────────────────────────────────────────────────────────────────────────────────────────


def _require_prometheus_client() -> None:
    try:
        import prometheus_client  # noqa: F401  # only to see whether it is there
    except ModuleNotFoundError:
        raise PreflightError(
            f"not installed: prometheus-client; run: {sys.executable} -m pip install prometheus-client"
        ) from None


def _serve(lab: Lab, port: int) -> None:
    try:
        serving = lab.serve_metrics(port)
    except OSError as refused:
        raise KernelError(
            f"--prometheus {port}: 127.0.0.1:{port} cannot be listened on: {refused.strerror}; give another port"
        ) from None
    say(f"{serving.url} has lab {lab.name}'s counters; Ctrl-C ends it")
    try:
        while not lab.gone:
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        complain("interrupted; scrapes are not answered any more")
        raise
    finally:
        serving.close()
    raise KernelError(f"lab {lab.name} has been taken down; scrapes are not answered any more")
