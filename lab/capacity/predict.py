"""What a burst will show, by arithmetic alone: no root, no kernel, no lab.

Sources take turns (`lab.capacity.shares`). Connection `k` of a source takes path `k % P` of its paths to the server
(`lab.paths`), and meets the limits of its hops in turn, any number of them. Connections that share a limit have its
scope in common (`lab.paths.path`). A limiter has room for so many connections; from the first that it refuses on it
refuses all that come. So each limiter has one number, that of the first connection refused: of the connections of a
path, those with smaller numbers pass it. The first of all refusals gives the drop threshold and the bottleneck.

Where execution environments, or clients, have so many descriptors, a connection for which there is none meets no limit
at all.

Where the name server is behind the ENI, an invocation takes two of its connections, one for the question; which of them
get the last ones is chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter

from lab.capacity.shares import Shares
from lab.errors import UsageError
from lab.nodes.registry import kind_of
from lab.nodes.resolver.model import Resolver
from lab.paths.path import Path, Scope
from lab.paths.routes import paths
from lab.schema.limit import ConnectionLimit
from lab.topology import Topology
from traffic.spec import PortBlocks, Protocol

__all__ = [
    "FunctionPrediction",
    "InUse",
    "LimiterLoad",
    "Prediction",
    "choose",
    "choose_source",
    "predict",
    "sources_of",
]

InUse = Callable[[Scope], int]
"""Which limit → slots that are taken already.

Negative where a further ENI has appeared beside the first: its whole limit is subtracted from what both hold.
"""
_CONNECT_TIMEOUT_S = 30.0
"""Used where `predict` gets no `connect_timeout_s`: the default of a burst."""


def _nothing(_: Scope) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class LimiterLoad:
    """What is offered to one limiter, and what becomes of it."""

    scope: Scope
    kind: str
    limit: int
    offered: int
    refused: int

    @property
    def node(self) -> str:
        """Where it is."""
        return self.scope.node

    @property
    def admitted(self) -> int:
        """Connections of this burst that it lets through; on a fresh lab, what it holds at the end."""
        return self.offered - self.refused


@dataclass(frozen=True, slots=True)
class FunctionPrediction:
    """What a burst will show of one of its functions, or of another source."""

    function: str
    offered: int
    throttled: int | None
    """Invocations beyond its reserved concurrency."""
    established: int | None


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
    emfile: int | None = 0
    """Connections for which their execution environment, or their client's program, has no descriptor left."""
    functions: tuple[FunctionPrediction, ...] = ()
    """Each source's part, in the order in which they take turns; empty where the numbers are not known."""

    @property
    def throttled(self) -> int:
        """Invocations that are not let in; the others each make a connection."""
        return sum(function.throttled or 0 for function in self.functions)


@dataclass(frozen=True, slots=True)
class _Environments:
    """How the connections of a path share execution environments, also with those to other addresses."""

    blocks: PortBlocks
    start: int
    """The turn of the first connection, as `PortBlocks` has it."""
    step: int
    """From the turn of one connection to that of the next: how many addresses take turns."""
    begin: int
    """The turn of the first connection to any address."""
    descriptors: int | None
    """How many each has for its connections; None is no limit."""

    def with_descriptors(self, connections: int) -> int:
        """How many of so many have one."""
        if self.descriptors is None:
            return connections
        return self.blocks.among_the_first(self.descriptors, connections, self.start, self.step, self.begin)


@dataclass(slots=True)
class _Turn:
    """A path of a function, its place among its paths, and the first connection of all that is refused on it so far."""

    path: Path
    place: int
    of: int
    function: int
    shares: Shares
    environments: _Environments
    refused_from: int | None = None

    @property
    def first(self) -> int:
        """How many connections come before the first one that is to take it."""
        return self.shares.place(self.function, self.place)

    def offered(self, m: int) -> int:
        """How many of the first `m` connections are to take it."""
        mine = self.shares.taking(self.function, m)
        return (mine - self.place + self.of - 1) // self.of if mine > self.place else 0

    def taking(self, m: int) -> int:
        """How many of those do, for their environment has a descriptor for them."""
        return self.environments.with_descriptors(self.offered(m))

    def passing(self, m: int) -> int:
        """How many of the first `m` connections take it and are refused by none of the limiters seen so far."""
        return self.taking(m if self.refused_from is None else min(m, self.refused_from))


@dataclass(frozen=True, slots=True)
class _Limiter:
    """A limit, and what a burst offers to it."""

    scope: Scope
    kind: str
    limit: ConnectionLimit
    in_use: int
    offered: int
    questions: int
    """How many it is offered besides: each takes a slot, and a connection that is never known its name's address."""
    first_refused: int | None
    """The number of the first connection that it refuses, counted from 0."""
    takes: Callable[[int], int]
    """How many of the first so many connections take a path through it."""

    @property
    def free(self) -> int:
        return max(0, self.limit.size - self.in_use)

    @property
    def left_to_chance(self) -> bool:
        """Whether no arithmetic can say what it refuses, for its node chooses among addresses by chance."""
        certain = self.limit.certain(self.in_use)
        return certain is not None and self.offered > certain

    @property
    def is_chance(self) -> bool:
        """Whether questions and connections compete for its last slots."""
        return bool(self.questions) and 0 < self.free < self.offered + self.questions

    @property
    def refuses_questions(self) -> bool:
        """Whether it refuses every question, so that no client learns an address to connect to."""
        return bool(self.questions) and not self.free

    @property
    def load(self) -> LimiterLoad:
        offered = self.offered + (self.questions if self.free else 0)
        return LimiterLoad(self.scope, self.kind, self.limit.size, offered, max(0, offered - self.free))


def predict(
    topology: Topology,
    connections: int,
    *,
    source: str | Sequence[str] | None = None,
    server: str | None = None,
    protocol: Protocol = "tcp",
    in_use: InUse = _nothing,
    first_connections: Sequence[int] = (),
    connect_timeout_s: float = _CONNECT_TIMEOUT_S,
    look_ups: int | None = None,
    questions_each: int = 1,
    per_environment: int = PortBlocks().per_environment,
    descriptors: int | None = None,
    asking: int = 0,
) -> Prediction:
    """What a burst of so many invocations will show on a topology, whose connections are all held at the same time.

    Several sources take turns, and what comes beyond the reserved concurrency of a function is throttled.

    `connect_timeout_s` is how long clients send SYNs: what an ENI has refused, another one may yet let through. There
    are as many look-ups as connections, unless told, each with so many questions to the name server from one socket;
    `per_environment` connections are of one execution environment, and `descriptors` of them may be open at a time. Of
    a client's addresses each may have as many open, and as many as the client says unless told.
    So many connections to the name server as are `asking` are there already, of one source.
    """
    if connections < 1:
        raise UsageError(f"-n {connections}: a burst has at least one connection")
    callers = sources_of(topology, source)
    callee = choose((known.name for known in topology.servers), server, "server")
    shares = Shares(len(callers), tuple(topology.source(caller).at_once for caller in callers))
    turns = [
        _Turn(
            path,
            (place - first) % len(mine),
            len(mine),
            number,
            shares,
            _environments(
                # A client's address has one program for all connections.
                PortBlocks(per_environment=connections if path.client else per_environment),
                first,
                mine,
                place,
                _descriptors(path, descriptors),
            ),
        )
        for number, caller in enumerate(callers)
        for first in [first_connections[number] if first_connections else 0]
        for mine in [paths(topology, caller, callee, protocol)]
        for place, path in enumerate(mine)
    ]
    offered, connections = connections, sum(shares.admitted(number, connections) for number in range(len(callers)))
    look_ups = connections if look_ups is None else look_ups
    limiters = tuple(_limiters(topology, turns, connections, in_use, look_ups))
    asked = Counter[tuple[int, str, str | None]]()
    for turn in turns:
        asked[turn.function, turn.path.gateway, turn.path.client_address] += turn.offered(look_ups)
    # A client's address is one network interface; a function's environments have one each.
    by_source = [
        number if client else min(number, per_environment, descriptors or per_environment)
        for (_, _, client), number in asked.items()
    ]
    emfile = 0 if descriptors is None else None
    if reason := _unknown_names(topology.service_vpc.resolver, limiters, by_source, questions_each, asking):
        return Prediction(offered, None, None, None, (), unknown=reason, emfile=emfile)
    reasons = (
        _doubt(turns, connections),
        _chance(limiters),
        _growth(limiters, connect_timeout_s),
        _given_back(limiters, connections - _taken(turns, connections)),
    )
    if reason := next(filter(None, reasons), None):
        loads = tuple(limiter.load for limiter in limiters)
        return Prediction(offered, None, None, None, loads, unknown=reason, emfile=emfile)
    predicted = _predicted(connections, limiters, turns)
    functions = tuple(_functions(callers, offered, connections, turns))
    if _ports_end_first(limiters, turns, connections):
        predicted = replace(predicted, emfile=None)
    return replace(predicted, offered=offered, functions=functions)


def _descriptors(path: Path, asked: int | None) -> int | None:
    """For how many connections each environment has descriptors, or a client's program: as asked, or as it is made."""
    if asked is None and path.client and (limit := path.client.descriptor_limit):
        return limit.connections
    return asked


def _environments(
    blocks: PortBlocks, first: int, paths: Sequence[Path], place: int, descriptors: int | None
) -> _Environments:
    """Those of one of a function's paths, whose connections begin with number `first`."""
    addresses = len({path.answer for path in paths})
    enis = len(paths) // addresses
    address, eni = divmod(place, enis)
    start = -(-(first - place) // len(paths)) * addresses + address
    return _Environments(blocks, start, addresses, -(-(first - eni) // enis), descriptors)


def sources_of(topology: Topology, source: str | Sequence[str] | None) -> tuple[str, ...]:
    """Whose connections a burst has, the first source's unless told; UsageError for one unknown, or given twice."""
    wanted = (source,) if isinstance(source, str) or source is None else tuple(source)
    names = tuple(choose((known.name for known in topology.sources), name, "function") for name in wanted or (None,))
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--function {twice}: given twice; each function has a turn of its own already")
    return names


def choose(names: Iterable[str], name: str | None, what: str) -> str:
    """That name, or the first one; UsageError with the known names if there is none like it."""
    known = tuple(names)
    if name is None:
        return known[0]
    if name not in known:
        raise UsageError(f"no {what} {name!r}; known: {', '.join(known)}")
    return name


def choose_source(topology: Topology, function: str | None, client: str | None) -> str:
    """The name of that client, or of that function, or of the first function; UsageError for names that are none."""
    if client is None:
        return choose((known.name for known in topology.functions), function, "function")
    if function is not None:
        raise UsageError(f"--client {client} and --function {function}: connections come from one of them")
    if not topology.clients:
        raise UsageError(f"no client {client!r}: the topology has functions only, and --function names one")
    return choose((known.name for known in topology.clients), client, "client")


# ── Limits in a row ─────────────────────────────────────────────────────────────────────────────────────────


def _limiters(
    topology: Topology, turns: Sequence[_Turn], connections: int, in_use: InUse, questions: int
) -> Iterator[_Limiter]:
    """Each limiter after all that come before it on any path; what it refuses does not come to those after it."""
    resolver = topology.service_vpc.resolver
    flows = (2 if resolver.truncate else 1) if resolver.behind_eni else 0  # over UDP, and then over TCP
    for scope in _in_order(turns):
        crossing = [turn for turn in turns if any(shared.scope == scope for _, shared in turn.path.limits)]
        kind, limit = next((hop.kind, shared.limit) for hop, shared in crossing[0].path.limits if shared.scope == scope)
        first_on_path = any(turn.path.gateway == scope.node for turn in crossing)
        first_refused = _first_refused(crossing, max(0, limit.size - in_use(scope)), connections)
        yield _Limiter(
            scope=scope,
            kind=kind,
            limit=limit,
            in_use=in_use(scope),
            offered=sum(turn.passing(connections) for turn in crossing),
            questions=flows * sum(turn.taking(questions) for turn in crossing if turn.path.eni) if first_on_path else 0,
            first_refused=first_refused,
            takes=partial(_taken, crossing),
        )
        if first_refused is not None:
            for turn in crossing:
                if turn.refused_from is None or first_refused < turn.refused_from:
                    turn.refused_from = first_refused


def _in_order(turns: Sequence[_Turn]) -> list[Scope]:
    """The limits, in an order in which none comes before one that connections meet first."""
    before: dict[Scope, dict[Scope, None]] = {}  # in the order of the paths: that of sets would differ from run to run
    for turn in turns:
        scopes = [shared.scope for _, shared in turn.path.limits]
        for position, scope in enumerate(scopes):
            before.setdefault(scope, {}).update(dict.fromkeys(scopes[:position]))
    return list(TopologicalSorter(before).static_order())


def _taken(turns: Sequence[_Turn], m: int) -> int:
    return sum(turn.taking(m) for turn in turns)


def _first_refused(turns: Sequence[_Turn], free: int, connections: int) -> int | None:
    """The number of the first connection for which a limiter has no room."""

    def offered(m: int) -> int:
        return sum(turn.passing(m) for turn in turns)

    if offered(connections) <= free:
        return None
    low, high = 0, connections  # it refuses one of the first `high`, and none of the first `low`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offered(middle) <= free else (low, middle)
    return high - 1


# ── What arithmetic cannot know ─────────────────────────────────────────────────────────────────────────────


def _unknown_names(
    resolver: Resolver, limiters: Sequence[_Limiter], by_source: Iterable[int], questions_each: int, asking: int
) -> str | None:
    """Why it is not known which clients learn the server's address; None where it is known."""
    quota = resolver.packets_per_second
    if any(limiter.is_chance for limiter in limiters):
        return (
            "the name server is behind the ENI, so each invocation takes two of its connections, one for the question: "
            "chance decides which of them get the last ones"
        )
    flows = 2 if resolver.truncate else 1
    by_eni = [limiter.questions // flows for limiter in limiters if limiter.questions]
    look_ups = max(by_eni or by_source, default=0)
    most = look_ups * questions_each
    if quota is not None and most > quota:
        both = f" (A and AAAA of {look_ups:,} look-ups)" if questions_each > 1 else ""
        return (
            f"one interface may have {most:,} questions{both}, more than the name server's quota of {quota:,} "
            "packets/s: what becomes of them depends on how fast they come"
        )
    most_by_tcp = resolver.tcp_connections
    if resolver.truncate and most_by_tcp is not None and look_ups + asking > most_by_tcp:
        beside = f" beside {asking:,} that are there already" if asking else ""
        return (
            f"one interface may have {look_ups:,} look-ups over TCP at a time{beside}, more than the {most_by_tcp:,} "
            "that the name server takes: what becomes of them depends on how fast they come"
        )
    return None


def _doubt(turns: Iterable[_Turn], connections: int) -> str | None:
    for turn in turns:
        if turn.path.doubt and turn.taking(connections):
            return f"{turn.path.doubt.sentence}: which part is known when ports and addresses are"
    return None


def _chance(limiters: Iterable[_Limiter]) -> str | None:
    if any(limiter.left_to_chance for limiter in limiters):
        return "Elastic IPs do not spill over: chance decides which is full first"
    return None


def _growth(limiters: Iterable[_Limiter], connect_timeout_s: float) -> str | None:
    for limiter in limiters:
        after_s = limiter.limit.grows_after_s
        if after_s is not None and after_s <= connect_timeout_s and limiter.first_refused is not None:
            return (
                f"another ENI appears {after_s} s after one is full, while clients still send SYNs "
                f"({connect_timeout_s:g} s): some are let through"
            )
    return None


def _given_back(limiters: Iterable[_Limiter], emfile: int) -> str | None:
    if emfile and any(kind_of(limiter.kind).answers and limiter.first_refused is not None for limiter in limiters):
        return (
            "a full server ends connections, whose descriptors are free again: how many more their execution "
            "environments then open depends on how fast they come"
        )
    return None


def _ports_end_first(limiters: Sequence[_Limiter], turns: Iterable[_Turn], connections: int) -> bool:
    """Whether a client that has more to connect than descriptors has fewer ports than those.

    What finds no port gives its descriptor back at once; the next one has it, and finds no port either. So all is known
    but how many fail which way, which depends on how fast they come.
    """
    used_up = {limiter.scope for limiter in limiters if limiter.first_refused is not None}
    return any(
        turn.path.client and turn.taking(connections) < turn.offered(connections) and not used_up.isdisjoint(own)
        for turn in turns
        for own in [{shared.scope for hop, shared in turn.path.limits if hop.node == turn.path.gateway}]
    )


# ── What it does know ───────────────────────────────────────────────────────────────────────────────────────


def _predicted(connections: int, limiters: Sequence[_Limiter], turns: Sequence[_Turn]) -> Prediction:
    dead = [turn for turn in turns if turn.path.dead_end and turn.taking(connections)]
    loads = tuple(limiter.load for limiter in limiters)
    lost = sum(turn.passing(connections) for turn in dead)
    emfile = connections - _taken(turns, connections)
    refusals = [(limiter.first_refused, limiter.kind) for limiter in limiters if limiter.first_refused is not None]
    return Prediction(
        offered=connections,
        established=connections - emfile - sum(load.refused for load in loads) - lost,
        drop_threshold=_threshold(limiters, dead, turns),
        bottleneck=min(refusals, default=(None, None))[1],
        limiters=loads,
        dead_ends=tuple(turn.path.dead_end.sentence for turn in dead if turn.path.dead_end),
        emfile=emfile,
    )


def _functions(
    callers: Sequence[str], offered: int, connections: int, turns: Sequence[_Turn]
) -> Iterator[FunctionPrediction]:
    """Each function's part, once the turns know from where on they are refused."""
    for number, caller in enumerate(callers):
        mine = [turn for turn in turns if turn.function == number]
        share, admitted = mine[0].shares.of(number, offered), mine[0].shares.admitted(number, offered)
        established = sum(turn.passing(connections) for turn in mine if not turn.path.dead_end)
        yield FunctionPrediction(caller, share, share - admitted, established)


def _threshold(limiters: Iterable[_Limiter], dead: Iterable[_Turn], turns: Sequence[_Turn]) -> int | None:
    """All connections before the first that is lost are held by then, but those that never learned the address.

    Nor are those held that found no descriptor.
    """
    nameless = {limiter.scope.node: limiter for limiter in limiters if limiter.refuses_questions}
    refused = [limiter.first_refused for limiter in limiters if not limiter.refuses_questions]
    ended = [turn.first for turn in dead if turn.path.gateway not in nameless]
    first = min([number for number in (*refused, *ended) if number is not None], default=None)
    if first is None:
        return None
    return _taken(turns, first) - sum(limiter.takes(first) for limiter in nameless.values())
