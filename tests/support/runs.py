"""Runs for tests: of any burst, in any topology that ships."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.diagnosis.explanation import Explanation, of_run
from lab.nodes.build import build
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.runs import Environment, Run
from lab.runs.commands import commands
from lab.topology import load_text, scaled
from tests.support.bursts import burst_result, reading, seen
from tests.support.topologies import SHIPPED

__all__ = ["ENVIRONMENT", "explained_run", "ran", "sample"]

ENVIRONMENT = Environment(
    lab="0.1.0",
    kernel="6.1.0-18-amd64",
    distribution="Debian GNU/Linux 12 (bookworm)",
    processor="a processor",
    processors=2,
    memory_bytes=8 << 30,
    python="3.11.2",
    nft="nftables v1.0.6 (Lester Gooch #5)",
    packages={"numpy": "2.1.0", "pydantic": "2.14.0"},
)


def sample(at_s: float, held: int = 0, refused: int = 0, node: str = "natgw") -> Sample:
    """One NAT node that holds so many connections, and has refused so many packets."""
    passed = InterfaceCount(held, held * 60, held, held * 60)
    counters = {"connections_admitted": held, "refused_packets_eip1_cache_tcp": refused}
    return Sample(at_s, {node: NodeSample({name: n for name, n in counters.items() if n}, {}, held, passed, passed)})


def ran(
    name: str = "tiny",
    established: int = 30,
    timed_out: int = 10,
    *,
    scale: int = 1,
    began_s: float = 1_795_340_463.25,
    text: str | None = None,
    load: Load | None = None,
    bottleneck: str | None = "nat_gateway",
    result: BurstResult | None = None,
    **rest: Any,
) -> Run:
    """A burst in a shipped topology, whose NAT gateway (or whatever the `bottleneck` is) refused what timed out."""
    text = text or next(path for path in SHIPPED if path.stem == name).read_text()
    topology = scaled(load_text(text), scale)
    plan = build(topology)
    load = load or Load(connections=established + timed_out, connect_timeout_s=1.0)
    if result is None:
        firsts = {each.kind: each for each in reversed([each for each in plan.limiters if each.of is None])}
        refusing = firsts.get(bottleneck or "")
        refused = {False: (0, 0), True: (timed_out * 2, timed_out)}
        readings = [reading(each, established, *refused[each is refusing]) for each in firsts.values()]
        first = next((each for each in readings if each.limiter is refusing), None)
        clients = seen(established, timed_out, retransmissions=timed_out)
        result = replace(burst_result(clients, *readings, first=first, load=load), lab=plan.lab)
    return replace(
        Run(
            id=f"20261122-094103-{plan.lab}",
            began_s=began_s,
            commands=commands(plan.lab, text, topology, load),
            topology_text=text,
            topology=topology,
            load=load,
            result=result,
            nodes=plan.nat_nodes,
            limiters=plan.limiters,
            samples=(
                sample(began_s, refused=7),
                sample(began_s + 1, established, refused=7 + timed_out * 2 * (bottleneck == "nat_gateway")),
            ),
            environment=ENVIRONMENT,
        ),
        **rest,
    )


def explained_run(run: Run) -> Explanation:
    """Why its connections were lost."""
    return of_run(
        run.result,
        run.load,
        run.topology,
        nodes=run.nodes,
        limiters=run.limiters,
        samples=run.samples,
        began_s=run.began_s,
        run=run.id,
    )
