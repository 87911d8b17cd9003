"""What a burst will show, by arithmetic alone: no root, no kernel, no lab.

Connection `i` of a burst takes way `i % W` of its function's ways to the server (`lab.paths.ways`): through an ENI,
and on through a NAT gateway, say. A limiter refuses its first connection when more are offered to it than it has free
slots; the first of all refusals gives the drop threshold and the bottleneck.

Where the name server is behind the ENI, an invocation takes two of its connections, one for the question; which of them
get the last ones is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lab.errors import UsageError
from lab.nodes.resolver.model import Resolver
from lab.paths.ways import Way, ways
from lab.topology import Topology
from traffic.spec import PortBlocks, Protocol

__all__ = ["InUse", "LimiterLoad", "Prediction", "choose", "predict"]

InUse = Callable[[str], int]
"""Node → connections that hold one of its slots already; fewer than none where another ENI has come to its help."""
_CONNECT_TIMEOUT_S = 30.0
"""A burst's own, unless it is told otherwise."""


def _nothing(_: str) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class LimiterLoad:
    """What is offered to one limiter, and what becomes of it."""

    node: str
    kind: str
    limit: int
    offered: int
    refused: int

    @property
    def admitted(self) -> int:
        """Connections of this burst that it lets through; on a fresh lab, what it holds at the end."""
        return self.offered - self.refused


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a burst will show; None for what arithmetic cannot know."""

    offered: int
    established: int | None
    drop_threshold: int | None
    bottleneck: str | None
    limiters: tuple[LimiterLoad, ...]
    dead_ends: tuple[str, ...] = ()
    """Why some connections get nowhere, whatever the limits."""
    unknown: str | None = None
    """Why the numbers are not known, where they are not."""


@dataclass(frozen=True, slots=True)
class _Limiter:
    """A limiter and how many connections it has been offered after the first `m` of a burst."""

    node: str
    kind: str
    limit: int
    free: int
    offered: Callable[[int], int]
    certain: int | None = None
    """With more connections than this, chance decides which of its addresses is full; None: never."""
    questions: int = 0
    """How many it is offered besides: each takes a slot, and a connection that is never known its name's address."""

    def admitted(self, m: int) -> int:
        return min(self.free, self.offered(m))

    def first_refusal(self, connections: int) -> int | None:
        """The number of the first connection that it refuses, counted from 0."""
        if self.offered(connections) <= self.free:
            return None
        low, high = 0, connections  # it refuses one of the first `high`, and none of the first `low`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.offered(middle) <= self.free else (low, middle)
        return high - 1

    def left_to_chance(self, connections: int) -> bool:
        """Whether no arithmetic can say what it refuses."""
        return self.certain is not None and self.offered(connections) > self.certain

    def is_chance(self, connections: int) -> bool:
        """Whether questions and connections compete for its last slots."""
        return bool(self.questions) and 0 < self.free < self.offered(connections) + self.questions

    @property
    def refuses_questions(self) -> bool:
        """Whether it refuses all of them, so that nobody ever gets to connect."""
        return bool(self.questions) and not self.free

    def load(self, connections: int) -> LimiterLoad:
        offered = self.offered(connections) + (self.questions if self.free else 0)
        return LimiterLoad(self.node, self.kind, self.limit, offered, max(0, offered - self.free))


@dataclass(frozen=True, slots=True)
class _Turn:
    """A way and its place among those that take turns."""

    way: Way
    place: int
    of: int

    def offered(self, m: int) -> int:
        """How many of the first `m` connections take it."""
        return (m - self.place + self.of - 1) // self.of if m > self.place else 0


def predict(
    topology: Topology,
    connections: int,
    *,
    function: str | None = None,
    server: str | None = None,
    protocol: Protocol = "tcp",
    in_use: InUse = _nothing,
    first_connection: int = 0,
    connect_timeout_s: float = _CONNECT_TIMEOUT_S,
    questions: int | None = None,
    per_environment: int = PortBlocks().per_environment,
) -> Prediction:
    """What a burst of so many connections will show on a topology, all held at the same time.

    `connect_timeout_s` is how long clients send SYNs: what an ENI has refused, another one may yet let through. There
    are as many questions to the name server as connections, unless told; `per_environment` come from one execution
    environment at most.
    """
    if connections < 1:
        raise UsageError(f"-n {connections}: a burst has at least one connection")
    caller = choose((each.name for each in topology.functions), function, "function")
    callee = choose((each.name for each in topology.servers), server, "server")
    found = ways(topology, caller, callee, protocol)
    turns = [_Turn(way, (place - first_connection) % len(found), len(found)) for place, way in enumerate(found)]
    questions = connections if questions is None else questions
    inner = {turn.way.gateway: limiter for turn in turns if (limiter := _eni(topology, turn, in_use, questions))}
    outer = {limiter.node: limiter for limiter in _exits(turns, inner, in_use)}
    limiters = (*inner.values(), *outer.values())
    by_source = [min(turn.offered(questions), per_environment) for turn in turns]
    if reason := _unknown_names(topology.service_vpc.resolver, inner.values(), connections, by_source):
        return Prediction(connections, None, None, None, (), unknown=reason)
    reasons = (
        _doubt(turns, connections),
        _chance(limiters, connections),
        _growth(topology, inner.values(), connections, connect_timeout_s),
    )
    if reason := next(filter(None, reasons), None):
        loads = tuple(each.load(connections) for each in limiters)
        return Prediction(connections, None, None, None, loads, unknown=reason)
    return _predicted(connections, limiters, turns, inner, outer)


def choose(names: Iterable[str], name: str | None, what: str) -> str:
    """That name, or the first one; UsageError with the known names if there is none like it."""
    known = tuple(names)
    if name is None:
        return known[0]
    if name not in known:
        raise UsageError(f"no {what} {name!r}; known: {', '.join(known)}")
    return name


def _eni(topology: Topology, turn: _Turn, in_use: InUse, questions: int) -> _Limiter | None:
    """The ENI on a way; None outside the VPC, and where connections end before its limit."""
    way, limit = turn.way, topology.hyperplane_eni.connection_limit
    if way.eni is None or (way.dead_end and way.dead_end.node == way.gateway):
        return None
    asked = turn.offered(questions) if topology.service_vpc.resolver.behind_eni else 0
    free = max(0, limit - in_use(way.gateway))
    return _Limiter(way.gateway, "hyperplane_eni", limit, free, turn.offered, questions=asked)


def _exits(turns: Sequence[_Turn], inner: dict[str, _Limiter], in_use: InUse) -> Iterator[_Limiter]:
    """What has a limit of its own where ways leave the VPC; each takes what the ENIs before it let through."""
    exits = {turn.way.reached.node: turn.way.reached for turn in turns if turn.way.reached}
    for node, out in exits.items():
        if out.capacity is None:
            continue
        before = [inner[turn.way.gateway] for turn in turns if turn.way.reached == out]
        used = in_use(node)
        yield _Limiter(
            node, out.KIND, out.capacity, max(0, out.capacity - used), _sum(before), out.certain_capacity(used)
        )


def _sum(before: Sequence[_Limiter]) -> Callable[[int], int]:
    return lambda m: sum(each.admitted(m) for each in before)


def _unknown_names(
    resolver: Resolver, enis: Iterable[_Limiter], connections: int, by_source: Iterable[int]
) -> str | None:
    """Why it is not known who learns the server's address, if it is not."""
    enis, quota = tuple(enis), resolver.packets_per_second
    if any(each.is_chance(connections) for each in enis):
        return (
            "the name server is behind the ENI, so each invocation takes two of its connections, one for the question: "
            "chance decides which of them get the last ones"
        )
    most = max([each.questions for each in enis] if resolver.behind_eni else by_source, default=0)
    if quota is not None and most > quota:
        return (
            f"one interface may have {most:,} questions, more than the name server's quota of {quota:,} packets/s: "
            "what becomes of them depends on how fast they come"
        )
    return None


def _doubt(turns: Iterable[_Turn], connections: int) -> str | None:
    for turn in turns:
        if turn.way.doubt and turn.place < connections:
            return f"{turn.way.doubt.sentence}: which part is known when ports and addresses are"
    return None


def _chance(limiters: Iterable[_Limiter], connections: int) -> str | None:
    if any(each.left_to_chance(connections) for each in limiters):
        return "Elastic IPs do not spill over: chance decides which is full first"
    return None


def _growth(topology: Topology, enis: Iterable[_Limiter], connections: int, connect_timeout_s: float) -> str | None:
    scaling = topology.hyperplane_eni.eni_scaling
    if scaling is None or scaling.after_s > connect_timeout_s:
        return None
    if all(each.first_refusal(connections) is None for each in enis):
        return None
    return (
        f"another ENI appears {scaling.after_s} s after one is full, while clients still send SYNs "
        f"({connect_timeout_s:g} s): some are let through"
    )


def _predicted(
    connections: int,
    limiters: Sequence[_Limiter],
    turns: Sequence[_Turn],
    inner: dict[str, _Limiter],
    outer: dict[str, _Limiter],
) -> Prediction:
    refusals = [(at, each) for each in limiters if (at := each.first_refusal(connections)) is not None]
    dead = [turn for turn in turns if turn.way.dead_end and turn.place < connections]
    loads = tuple(each.load(connections) for each in limiters)
    lost = sum(_reaching_the_end(turn, inner, outer, connections) for turn in dead)
    return Prediction(
        offered=connections,
        established=connections - sum(load.refused for load in loads) - lost,
        drop_threshold=_threshold(refusals, dead, inner),
        bottleneck=min(((at, each.kind) for at, each in refusals), default=(None, None))[1],
        limiters=loads,
        dead_ends=tuple(turn.way.dead_end.sentence for turn in dead if turn.way.dead_end),
    )


def _threshold(
    refusals: Iterable[tuple[int, _Limiter]], dead: Iterable[_Turn], inner: dict[str, _Limiter]
) -> int | None:
    """All connections before the first that is lost are held by then, but those that never learned the address."""
    nameless = {name: each for name, each in inner.items() if each.refuses_questions}
    lost = [at for at, each in refusals if not each.refuses_questions]
    first = min([*lost, *(turn.place for turn in dead if turn.way.gateway not in nameless)], default=None)
    return None if first is None else first - sum(each.offered(first) for each in nameless.values())


def _reaching_the_end(turn: _Turn, inner: dict[str, _Limiter], outer: dict[str, _Limiter], connections: int) -> int:
    """Connections that come as far as the end of the way, and no further."""
    out = outer.get(turn.way.reached.node) if turn.way.reached else None
    # What takes them out lets all pass until it is full, and none from then on.
    full_at = out.first_refusal(connections) if out else None
    limiter = inner.get(turn.way.gateway)
    return (limiter.admitted if limiter else turn.offered)(connections if full_at is None else full_at)
