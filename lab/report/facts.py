"""What a report says in words and tables: numbers of a run as rows of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab.load import Load
from lab.metrics import total
from lab.result import BurstResult, StopResult
from lab.runs import Environment, Run
from lab.topology.kinds import in_words
from traffic.result import Percentiles

__all__ = [
    "Cell",
    "Table",
    "asked",
    "began",
    "bottleneck",
    "cloudwatch",
    "comparison",
    "environment",
    "tables",
    "tone",
]

_DASH = "\N{EN DASH}"
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and whether it is good, bad or neither."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows; columns of numbers are those whose title opens with `#`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    wide: bool = False
    """Whether it needs the page's width."""

    def is_number(self, column: int) -> bool:
        """Whether that column is set right."""
        return self.columns[column].startswith("#")

    @property
    def titles(self) -> tuple[str, ...]:
        """Of its columns, for people."""
        return tuple(each.removeprefix("#") for each in self.columns)


def _number(value: int | None, tone: str = "") -> Cell:
    return Cell(_DASH if value is None else f"{value:,}", tone if value else "")


def _row(*cells: Cell | str | int | None) -> tuple[Cell, ...]:
    return tuple(
        each if isinstance(each, Cell) else Cell(each) if isinstance(each, str) else _number(each) for each in cells
    )


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────


def tone(result: BurstResult) -> str:
    """Whether the verdict is `good`, `bad`, or `warn`: refused at first, and nobody failed."""
    tcp = result.tcp
    failed = tcp.timed_out or tcp.refused or tcp.reset or result.dns.failed
    if result.bottleneck or failed or result.requests.answered < result.requests.sent:
        return "bad"
    return "warn" if any(limit.dropped_packets for limit in result.limits) else "good"


def bottleneck(kind: str | None) -> str:
    """The kind of a limiter as people say it."""
    return in_words(kind) if kind else "none"


def began(run: Run) -> str:
    """When, in UTC."""
    return datetime.fromtimestamp(run.began_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def asked(load: Load) -> tuple[str, ...]:
    """What was asked of the fleet, in a few words each."""
    return tuple(_asked(load))


def _asked(load: Load) -> Iterator[str]:
    yield f"{load.connections:,} invocation{'' if load.connections == 1 else 's'} {_when(load)}"
    yield "TCP" if load.protocol == "tcp" else "UDP flows"
    yield f"{load.engine} engine"
    if load.syn_only:
        yield "SYNs alone"
    yield "connections reused" if load.reuse else "a connection each"
    if load.requests:
        yield f"{load.requests:,} request{'' if load.requests == 1 else 's'} on each"
    if load.hold_s is not None:
        yield f"each held for {load.hold_s:g} s" if load.over_time else f"held for {load.hold_s:g} s more"
    if load.leave_open:
        yield "left open"
    yield f"clients wait {load.connect_timeout_s:g} s"
    if load.protocol == "tcp":
        again = ", ".join(f"{each} s" for each in _AGAIN[load.syn_schedule] if each < load.connect_timeout_s)
        yield f"SYNs again after {again}" if again else "no SYN is sent again"


_AGAIN = {"classic": (1, 3, 7, 15, 31, 63), "linear": (1, 2, 3, 4, 5, 7, 11, 19, 35, 67)}
"""Linux before 6.5, and since (net.ipv4.tcp_syn_linear_timeouts = 4)."""


def _when(load: Load) -> str:
    if load.lambda_scaling:
        return "as fast as Lambda adds environments"
    if load.ramp is not None:
        ramp = load.ramp
        return f"at {ramp.from_per_s:,g} to {ramp.to_per_s:,g} a second within {ramp.seconds:g} s"
    return "at once" if load.rate_per_s is None else f"at {load.rate_per_s:,g} a second"


# ── Side by side ────────────────────────────────────────────────────────────────────────────────────────────


def comparison(runs: Sequence[Run]) -> tuple[tuple[Cell, ...], ...]:
    """Rows that begin with what they are of, then a cell for each run."""
    columns = [list(_compared(run)) for run in runs]
    return tuple((Cell(row[0][0]), *(cell for _, cell in row)) for row in zip(*columns, strict=True))


def _compared(run: Run) -> Iterator[tuple[str, Cell]]:
    result = run.result
    enis = {each.node for each in result.limits if each.kind == "hyperplane_eni"}
    eips = {(each.node, each.eip) for each in result.limits if each.kind == "nat_gateway"}
    errors, active = _error_port_allocation(run), _most_active(run)
    yield "Hyperplane ENIs", _number(len(enis))
    yield "Elastic IPs", _number(len(eips))
    yield "Invocations", _number(result.offered)
    yield "DNS answered", _number(result.dns.answered) if result.dns.asked else Cell(_DASH)
    yield "Established", _number(result.tcp.established, "good")
    yield "Timed out", _number(result.tcp.timed_out, "bad")
    yield "Drop threshold", _number(result.drop_threshold)
    yield "Bottleneck", Cell(bottleneck(result.bottleneck), "bad" if result.bottleneck else "good")
    yield "ErrorPortAllocation", _number(errors, "bad")
    yield "ActiveConnectionCount, at most", _number(active)
    yield "What CloudWatch shows", Cell(*cloudwatch(run))


def cloudwatch(run: Run) -> tuple[str, str]:
    """What somebody learns of this failure from the NAT gateway's metrics, and the tone of that."""
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
        return sum(each.dropped_packets for each in run.result.limits if each.kind == "nat_gateway")
    return total("ErrorPortAllocation", gateways, run.samples)


def _gateways(run: Run) -> set[str]:
    """NAT gateways on the way."""
    return {each.node for each in run.result.limits if each.kind == "nat_gateway"}


def _most_active(run: Run) -> int | None:
    gateways = _gateways(run)
    if not gateways:
        return None
    return max(
        (sum(sample.nodes[node].active for node in gateways if node in sample.nodes) for sample in run.samples),
        default=None,
    )


# ── Tables of one run ───────────────────────────────────────────────────────────────────────────────────────


def tables(run: Run) -> tuple[Table, ...]:
    """All tables of a run, those left out that would have no rows."""
    result = run.result
    made = (
        _predicted(result),
        _outcomes(result),
        _limits(result),
        _latencies(result),
        _stops(result),
        _tracking(result),
    )
    return tuple(each for each in made if each.rows)


def _predicted(result: BurstResult) -> Table:
    predicted = result.predicted
    pairs = (
        ("Established", _number(predicted.established), _number(result.tcp.established)),
        ("Drop threshold", _number(predicted.drop_threshold), _number(result.drop_threshold)),
        ("Bottleneck", Cell(bottleneck(predicted.bottleneck)), Cell(bottleneck(result.bottleneck))),
    )
    return Table(
        "Predicted and observed",
        ("", "#predicted", "#observed"),
        tuple(_row(name, said, seen) for name, said, seen in pairs),
        "Predicted by arithmetic from the topology alone, before the first packet.",
    )


def _outcomes(result: BurstResult) -> Table:
    dns, tcp, requests, invocations = result.dns, result.tcp, result.requests, result.invocations
    rows = []
    if dns.asked:
        rows.append(_row("DNS", dns.asked, dns.answered, _number(dns.failed, "bad"), "", ""))
    what = "Connections" if result.protocol == "tcp" else "UDP flows"
    answered = tcp.half_open or tcp.established
    refused, reset = (_number(each, "bad") for each in (tcp.refused, tcp.reset))
    rows.append(_row(what, tcp.attempted, answered, _number(tcp.timed_out, "bad"), refused, reset))
    if requests.sent:
        missing = _number(requests.sent - requests.answered, "bad")
        rows.append(_row("Requests", requests.sent, requests.answered, missing, "", ""))
    failed = _number(invocations.failed, "bad")
    rows.append(_row("Invocations", invocations.offered, invocations.served, failed, "", ""))
    return Table(
        "Outcomes",
        ("", "#offered", "#half-open" if tcp.half_open else "#succeeded", "#timed out", "#refused", "#reset"),
        tuple(rows),
        " ".join(_measured(result)),
    )


def _measured(result: BurstResult) -> Iterator[str]:
    timing, tcp, invocations = result.timing, result.tcp, result.invocations
    yield (
        f"{timing.invocations_per_s:,.0f} invocations a second while connecting ({timing.connect_phase_s:,.1f} s); "
        f"{timing.duration_s:,.1f} s in all."
    )
    if tcp.syn_retransmissions:
        late = sum(tcp.established_at_syn[1:])
        by_one = f"{late:,} connections were established by one" if late else "none was answered"
        yield f"{tcp.syn_retransmissions:,} SYN retransmissions; {by_one}."
    if invocations.reused:
        yield f"{invocations.reused:,} invocations found a connection open."


def _limits(result: BurstResult) -> Table:
    packets = "packets" if result.resolver == "vpc" else "SYNs" if result.protocol == "tcp" else "datagrams"
    several = len({each.destination for each in result.limits if each.destination}) > 1
    rows = (
        _row(
            " ".join(filter(None, (each.node, each.eip, f"to {each.destination}" if several else None))),
            each.limit,
            _number(each.peak, "bad" if each.peak >= each.limit else ""),
            _number(each.dropped_connections, "bad"),
            _number(each.dropped_packets, "bad"),
        )
        for each in result.limits
    )
    return Table(
        "Limits",
        ("limiter", "#limit", "#peak", "#dropped connections", f"#dropped {packets}"),
        tuple(rows),
        "The kernel's numbers: slots held at most, and what found no slot.",
    )


def _latencies(result: BurstResult) -> Table:
    latency = result.latency
    known = (("DNS", latency.dns), ("Connect", latency.connect), ("Request", latency.request))
    return Table(
        "Latencies",
        ("", "#half within", "#90 % within", "#99 % within", "#99.9 % within", "#at most"),
        tuple(_latency(name, each) for name, each in known if each),
        "As the clients saw them, retransmissions included.",
    )


def _latency(name: str, each: Percentiles) -> tuple[Cell, ...]:
    times_ms = (each.p50_ms, each.p90_ms, each.p99_ms, each.p999_ms, each.max_ms)
    return _row(name, *(f"{value:,.1f} ms" for value in times_ms))


def _stops(result: BurstResult) -> Table:
    return Table(
        "Dropped for another reason than a limit",
        ("node", "reason", "of", "what", "#dropped packets", "what would let them pass"),
        tuple(_stop(each) for each in result.stops),
        wide=True,
    )


def _stop(stop: StopResult) -> tuple[Cell, ...]:
    what = "answers" if stop.answers else "requests"
    direction = f"{stop.direction}: {what}" if stop.direction else what
    reason = stop.kind.replace("_", " ").replace("acl", "ACL").replace("dns", "DNS")
    return _row(stop.node, reason, stop.name, direction, _number(stop.dropped_packets, "bad"), stop.cure or "")


def _tracking(result: BurstResult) -> Table:
    left = [each for each in result.tracking if each.slots or each.conntrack]
    return Table(
        "Left when all was closed",
        ("node", "#slots", "#conntrack entries"),
        tuple(_row(each.node, each.slots, each.conntrack) for each in left),
        "Connections that nobody closes, such as half-open ones, hold their slot until a timeout.",
    )


def environment(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Names and values."""
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
