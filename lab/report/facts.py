"""What a report says in words: numbers of a run as texts, and runs side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from lab.burst.result import BurstResult
from lab.metrics import total
from lab.nodes.registry import kind_of
from lab.report.cells import DASH, Cell, number
from lab.runs import Environment, Run

__all__ = ["began", "bottleneck", "cloudwatch", "comparison", "environment", "tone"]

_GIB = 1 << 30


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────


def tone(result: BurstResult) -> str:
    """Whether the verdict is `good`, `bad`, or `warn`: some were refused at first, and none failed."""
    tcp = result.tcp
    failed = tcp.timed_out or tcp.refused or tcp.reset or result.dns.failed or result.invocations.failed
    if result.bottleneck or failed or result.requests.answered < result.requests.sent:
        return "bad"
    return "warn" if any(limit.dropped_packets for limit in result.limits) else "good"


def bottleneck(kind: str | None) -> str:
    """The kind of a limiter as people say it."""
    return kind_of(kind).words if kind else "none"


def began(run: Run) -> str:
    """When the run began, in UTC."""
    return datetime.fromtimestamp(run.began_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# ── Side by side ────────────────────────────────────────────────────────────────────────────────────────────


def comparison(runs: Sequence[Run]) -> tuple[tuple[Cell, ...], ...]:
    """Rows that begin with what they are of, then a cell for each run."""
    emfile = any(run.result.emfile for run in runs)
    columns = [list(_compared(run, emfile=emfile)) for run in runs]
    return tuple((Cell(same[0][0]), *(cell for _, cell in same)) for same in zip(*columns, strict=True))


def _compared(run: Run, *, emfile: bool) -> Iterator[tuple[str, Cell]]:
    result = run.result
    enis = {limit.node for limit in result.limits if kind_of(limit.kind).sees_environments}
    eips = {(limit.node, limit.eip) for limit in result.limits if limit.eip is not None}
    errors, active = _error_port_allocation(run), _most_active(run)
    yield "Hyperplane ENIs", number(len(enis))
    yield "Elastic IPs", number(len(eips))
    yield "Invocations", number(result.offered)
    yield "DNS answered", number(result.dns.answered) if result.dns.asked else Cell(DASH)
    yield "Established", number(result.tcp.established, "good")
    yield "Timed out", number(result.tcp.timed_out, "bad")
    if emfile:
        yield "EMFILE", number(result.emfile, "bad")
    yield "Drop threshold", number(result.drop_threshold)
    yield "Bottleneck", Cell(bottleneck(result.bottleneck), "bad" if result.bottleneck else "good")
    yield "ErrorPortAllocation", number(errors, "bad")
    yield "ActiveConnectionCount, at most", number(active)
    yield "What CloudWatch shows", Cell(*cloudwatch(run))


def cloudwatch(run: Run) -> tuple[str, str]:
    """What the NAT gateways' metrics show of this failure, and the tone of that."""
    errors, failed = _error_port_allocation(run), run.result.tcp.timed_out
    if errors is None:
        return ("nothing: no NAT gateway is on the way", "bad" if failed else "")
    if errors:
        return ("port allocation errors: an alarm", "warn")
    if failed:
        return (f"a healthy NAT gateway, while {failed:,} time out", "bad")
    return ("a healthy NAT gateway", "good")


def _error_port_allocation(run: Run) -> int | None:
    """Over the whole run, of all NAT gateways on the way; None where there is none."""
    gateways = _gateways(run)
    if not gateways:
        return None
    if not run.samples:
        return sum(limit.dropped_packets for limit in run.result.limits if limit.node in gateways)
    return total("ErrorPortAllocation", gateways, run.samples)


def _gateways(run: Run) -> set[str]:
    """Nodes on the way of which CloudWatch has metrics."""
    return {limit.node for limit in run.result.limits if kind_of(limit.kind).has_cloudwatch}


def _most_active(run: Run) -> int | None:
    gateways = _gateways(run)
    if not gateways:
        return None
    return max(
        (sum(sample.nodes[node].active for node in gateways if node in sample.nodes) for sample in run.samples),
        default=None,
    )


def environment(environment: Environment) -> tuple[tuple[str, str], ...]:
    """What is known of the machine and its versions, as names and values."""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    return (
        ("lab", environment.lab),
        ("kernel", environment.kernel),
        ("distribution", environment.distribution),
        ("processor", f"{environment.processors} \N{MULTIPLICATION SIGN} {environment.processor}"),
        ("memory", f"{environment.memory_bytes / _GIB:,.1f} GiB"),
        ("nftables", environment.nft),
        ("Python", environment.python),
        ("packages", packages),
    )
