"""Two runs side by side: what of the topology, the load and the machine differs, and what of the result. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from lab.burst.load import Load
from lab.burst.options import differences
from lab.burst.result import BurstResult
from lab.metrics import total
from lab.nodes.diagnosis import limiting_kinds
from lab.nodes.registry import kind_of
from lab.runs.run import Environment, Run
from lab.topology import Topology, hyperplane_enis
from traffic.result import Percentiles

__all__ = ["TIMING_VARIES", "Comparison", "Difference", "compare"]

TIMING_VARIES = "timing varies from run to run on the same machine: one pair of runs proves no change of it"

Value: TypeAlias = str | int | float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in both runs; what is not there is None."""

    what: str
    before: Value
    after: Value

    @property
    def change(self) -> int | float | None:
        """By how much it has grown; None where it is no number."""
        before, after = self.before, self.after
        if isinstance(before, bool) or isinstance(after, bool):
            return None
        if not isinstance(before, int | float) or not isinstance(after, int | float):
            return None
        return after - before

    def to_json(self) -> dict[str, Any]:
        """Its part of the document of `lab compare --json`, with the change."""
        return {**asdict(self), "change": self.change}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two runs."""

    headline: str
    topology: tuple[Difference, ...]
    """What differs between the topologies as applied, by the path in the file; ENIs and Elastic IPs in all."""
    load: tuple[Difference, ...]
    """What differs between the loads, by the option of `lab burst`."""
    environment: tuple[Difference, ...]
    """What differs between the machines and versions."""
    result: tuple[Difference, ...]
    """All counts, whether they differ or not."""
    timing: tuple[Difference, ...]
    """How long and how fast, whether they differ or not: see `TIMING_VARIES`."""


def compare(before: Run, after: Run) -> Comparison:
    """What has changed from one run to the other."""
    return Comparison(
        headline=_headline(before.result, after.result),
        topology=(
            *_differing(_sizes(before.topology), _sizes(after.topology)),
            *_topology(before.topology, after.topology),
        ),
        load=tuple(_load(before.load, after.load)),
        environment=_differing(_machine(before.environment), _machine(after.environment)),
        result=tuple(_result(before, after)),
        timing=_both(_timing(before.result), _timing(after.result)),
    )


def _headline(before: BurstResult, after: BurstResult) -> str:
    """What matters most, in a sentence."""
    more = after.tcp.established - before.tcp.established
    if more:
        amount = f"{abs(more):,} {'more' if more > 0 else 'fewer'} established"
    else:
        amount = f"as many established, {after.tcp.established:,}"
    offered = after.offered - before.offered
    if offered:
        amount += f", with {abs(offered):,} {'more' if offered > 0 else 'fewer'} offered"
    return f"{amount}: {_moved(before.bottleneck, after.bottleneck)}"


def _moved(before: str | None, after: str | None) -> str:
    if before == after:
        return f"the bottleneck is {after} in both" if after else "no limit binds in either"
    if before is None:
        return f"no limit was binding, now the bottleneck is {after}"
    if after is None:
        return f"the bottleneck was {before}, now no limit binds"
    return f"the bottleneck moved from {before} to {after}"


# ── What was asked for ──────────────────────────────────────────────────────────────────────────────────────


def _sizes(topology: Topology) -> dict[str, Value]:
    return {
        "Hyperplane ENIs": len(hyperplane_enis(topology)),
        "Elastic IPs": sum(gateway.elastic_ips for gateway in topology.nat_gateways),
    }


def _topology(before: Topology, after: Topology) -> tuple[Difference, ...]:
    """Differences by path in the file; entries of lists go by name, so that an added one does not shift the others."""
    dumps = (
        topology.model_dump(mode="json", by_alias=True, exclude={"version", "name"}) for topology in (before, after)
    )
    return tuple(_between("", *dumps))


def _between(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if before == after:
        return
    one, other = _entries(before), _entries(after)
    if one is None or other is None:
        yield Difference(path, _shown(before), _shown(after))
        return
    dot = "" if isinstance(after, list) or not path else "."
    for name in dict.fromkeys((*one, *other)):
        yield from _between(f"{path}{dot}{name}", one.get(name), other.get(name))


def _entries(value: Any) -> Mapping[str, Any] | None:
    """The parts of a mapping, or of a list of mappings; None of what has none."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return {f"[{item.get('name', index)}]": item for index, item in enumerate(value)}
    return None


def _shown(value: Any) -> Value:
    """A value as on one line of YAML; of a mapping what is set in it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        parts = (f"{name}: {_shown(part)}" for name, part in value.items() if part not in (None, [], {}))
        return f"{{{', '.join(parts)}}}"
    return f"[{', '.join(str(_shown(item)) for item in value)}]"


def _load(before: Load, after: Load) -> Iterator[Difference]:
    for option, *values in differences(before, after):
        yield Difference(
            option, *(value if isinstance(value, str | int | float | None) else str(value) for value in values)
        )


def _machine(environment: Environment) -> dict[str, Value]:
    document = asdict(environment)
    packages: dict[str, Value] = document.pop("packages")
    return packages | document


# ── What became of it ───────────────────────────────────────────────────────────────────────────────────────


def _result(before: Run, after: Run) -> Iterator[Difference]:
    for difference in _both(_counts(before), _counts(after)):
        if difference.what in _ALWAYS or difference.before or difference.after:
            yield difference


_ALWAYS = ("offered", "established", "timed out", "drop threshold", "bottleneck", "ErrorPortAllocation")


def _counts(run: Run) -> dict[str, Value]:
    result, tcp = run.result, run.result.tcp
    return {
        "offered": result.offered,
        "DNS failed": result.dns.failed,
        "EMFILE": result.emfile,
        "established": tcp.established,
        "half-open": tcp.half_open,
        "timed out": tcp.timed_out,
        "refused": tcp.refused,
        "reset": tcp.reset,
        "reset by the server": result.endings.reset_by_server,
        "reset by NAT nodes that had forgotten them": sum(node.reset for node in result.endings.nodes),
        "closed by the server": result.endings.closed_by_server,
        "TLS handshakes failed": result.tls.failed if result.tls else 0,
        "reused": result.invocations.reused,
        "drop threshold": result.drop_threshold,
        "bottleneck": result.bottleneck,
        **{f"refused by {kind_of(kind).plural}": _refused(result, kind) for kind in limiting_kinds()},
        **{
            words.metric: total(words.metric, [node.node for node in run.nodes if node.kind == kind], run.samples)
            for kind, words in limiting_kinds().items()
            if words.metric
        },
        "SYNs whose port search failed": sum(result.ports_not_found.values()),
        "dropped for other reasons": sum(drop.dropped_packets for drop in result.stops),
        "SYN retransmissions": tcp.syn_retransmissions,
    }


def _refused(result: BurstResult, kind: str) -> int:
    return sum(limit.dropped_connections for limit in result.limits if limit.kind == kind)


def _timing(result: BurstResult) -> dict[str, Value]:
    timing, latency = result.timing, result.latency
    values: dict[str, Value] = {
        "duration, s": timing.duration_s,
        "handshakes/s": timing.handshakes_per_s,
        "invocations/s": timing.invocations_per_s,
    }
    for name, percentiles in (
        ("DNS", latency.dns),
        ("connect", latency.connect),
        ("TLS", latency.tls),
        ("request", latency.request),
    ):
        values |= _percentiles(name, percentiles)
    return values


def _percentiles(name: str, latency: Percentiles | None) -> dict[str, Value]:
    if latency is None:
        return {}
    return {f"{name}, half within, ms": latency.p50_ms, f"{name}, 99 % within, ms": latency.p99_ms}


def _both(before: Mapping[str, Value], after: Mapping[str, Value]) -> tuple[Difference, ...]:
    return tuple(Difference(what, before.get(what), after.get(what)) for what in dict.fromkeys((*before, *after)))


def _differing(before: Mapping[str, Value], after: Mapping[str, Value]) -> tuple[Difference, ...]:
    return tuple(difference for difference in _both(before, after) if difference.before != difference.after)
