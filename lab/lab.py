"""A lab from up to down, in one page: the story that the command line and pytest tell alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from ipaddress import IPv4Address
from os import PathLike
from pathlib import Path
import time
from typing import Self, Unpack

from lab.burst.load import Load
from lab.burst.options import takes_keywords_of
from lab.burst.result import BurstResult
from lab.burst.run import Listeners, Progress, WatchedLoad, run_burst
from lab.converge.converging import converge
from lab.converge.diff import Difference, difference, drained_by
from lab.converge.disruption import Breakage, Held, breakages, cut_off, newly_limited, sets_to_rebuild
from lab.errors import ExpectationError, KernelError, UsageError
from lab.impair import apply as impair
from lab.impair.faults import FaultOptions, Faults, Impairment
from lab.kernel import apply, preflight
from lab.kernel.netns import Namespaces
from lab.kernel.processes import NamespaceProcess
from lab.kernel.state import Record, State
from lab.metrics import Series, fold, since
from lab.nodes.build import build
from lab.observe import history
from lab.observe.collecting import is_collecting, start_collecting, stop_collecting
from lab.observe.connections import ConnectionCounts, count
from lab.observe.limiters import held_destinations, held_sources, read
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.observe.sampling import Sampler
from lab.plan import Plan
from lab.plan.objects import NodePlan
from lab.runs import Run, new_run
from lab.topology import Topology, load, scaled
from traffic.packet_record import PacketRecord

__all__ = ["Convergence", "Lab"]


def _silent(_: object) -> None:
    """Notices and progress that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """What `up` has changed of a lab that was up."""

    old: Plan
    new: Plan
    difference: Difference
    broken: tuple[Breakage, ...]
    """Connections that it has broken, as it was allowed to."""


class Lab:
    """A lab that is up on this machine.

    Use it as a context manager to have it taken down whatever happens::

        with Lab.up("topologies/two_subnets.yaml") as lab:
            assert lab.burst(140_000).bottleneck == "hyperplane_eni"
    """

    def __init__(
        self, record: Record, state: State, *, changed: bool = False, convergence: Convergence | None = None
    ) -> None:
        self._record = record
        self._state = state
        self._identity = record.identity()
        self._revision = record.revision()
        self._plan = record.remains()
        self.changed = changed
        """Whether this very call brought it up or changed it."""
        self.convergence = convergence
        """What this very call changed of a lab that was up."""

    @classmethod
    def up(
        cls,
        topology: str | PathLike[str],
        *,
        name: str | None = None,
        scale: int = 1,
        disruptive: bool = False,
        notice: Callable[[str], None] = _silent,
    ) -> Self:
        """Build the lab of a topology file, every limit divided by `scale`; one that is up becomes what the file has.

        A lab that is up as wanted stays as it is; one that differs is changed, and connections that the change does not
        touch stay. ExpectationError when it would break connections that are held, unless it may be `disruptive`.

        Raises TopologyError, UsageError, PreflightError, or KernelError, and then has left nothing behind, or a lab
        that was up as it was.
        """
        wanted = scaled(load(topology), scale)
        plan = build(wanted, name)
        preflight.require_everything()
        state = State()
        with state.locked():
            known = state.record(plan.lab)
            if known is not None and known.phase() == "up":
                _require_whole(known.plan())
                found = _converge(state, known, wanted, Path(topology).read_text(), notice, disruptive=disruptive)
                return cls(known, state, changed=found is not None, convergence=found)
            if known is not None:  # half built by a process that was killed
                _take_down(state, known, known.remains(), notice)
            apply.require_vacant(state, plan)
            record = state.new_record(plan.lab)
            try:
                record.write(plan, wanted, Path(topology).read_text())
                apply.apply(state, record, plan, notice)
                lab = cls(record, state, changed=True)
                with suppress(OSError):  # no room: what comes first is then counted from the collector's first sample
                    history.History(record.path).add(lab.sample())
                start_collecting(record, plan)
                record.set_phase("up")
            except BaseException:
                _undo(state, record, plan, notice)
                raise
        return lab

    @classmethod
    def find(cls, name: str | None = None) -> Self:
        """The lab of that name, or the only one that is up; UsageError lists the known ones."""
        preflight.require_root()
        state = State()
        records = state.records()
        known = ", ".join(record.lab for record in records) or "none is up"
        if name is None:
            if len(records) != 1:
                what = "several labs are up" if records else "no lab is up"
                help_ = f"name one with --lab: {known}" if records else "bring one up: lab up TOPOLOGY.yaml"
                raise UsageError(f"{what}; {help_}")
            return cls._of(records[0], state)
        record = next((each for each in records if each.lab == name), None)
        if record is None:
            raise UsageError(f"no lab {name!r}; known: {known}")
        return cls._of(record, state)

    @classmethod
    def _of(cls, record: Record, state: State) -> Self:
        try:
            return cls(record, state)
        except FileNotFoundError:
            raise UsageError(f"lab {record.lab} has just been taken down") from None

    @classmethod
    def all(cls) -> list[Self]:
        """Every lab of this machine, half-built ones included."""
        state, found = State(), list[Self]()
        for record in state.records():
            with suppress(FileNotFoundError):  # taken down since they were listed
                found.append(cls(record, state))
        return found

    @property
    def plan(self) -> Plan:
        """The plan that was applied; `up` on a lab that is up may have changed it meanwhile."""
        revision = self._record.revision()
        if revision not in (self._revision, (0, 0)) and self._record.identity() == self._identity:
            self._revision, self._plan = revision, self._record.plan()
        return self._plan

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.plan.lab

    @property
    def complete(self) -> bool:
        """Whether `up` came to its end; a lab that is not complete can only be taken down."""
        return self._record.phase() == "up" and self._record.readable()

    def require_complete(self) -> Self:
        """The lab again, if it is complete; UsageError says what to do with one that is not."""
        if not self.complete:
            raise UsageError(
                f"lab {self.name} is half built, or of another version; take it down: lab down --lab {self.name}"
            )
        return self

    @property
    def gone(self) -> bool:
        """Whether it has been taken down meanwhile; what bears its name now is another."""
        return self._record.identity() != self._identity

    @property
    def topology(self) -> Topology:
        """The topology as it was applied, its limits scaled."""
        return self._record.topology()

    @property
    def topology_text(self) -> str:
        """The topology file as it was written when it was applied."""
        return self._record.topology_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self, notice: Callable[[str], None] = _silent) -> list[NamespaceProcess]:
        """Take everything away, by the recorded plan; which processes of others were ended with it."""
        with self._state.locked():
            if self.gone:
                return []
            return _take_down(self._state, self._record, self._record.remains(), notice)

    def node(self, name: str) -> NodePlan:
        """The node of that name (`eni-private-a`) or of that name in the topology (`cache`)."""
        named = [node for node in self.plan.nodes if name in (node.name, node.namespace)]
        found = named or [node for node in self.plan.nodes if name == node.alias]
        if len(found) == 1:
            return found[0]
        known = ", ".join(node.name for node in found or self.plan.nodes)
        problem = f"{name!r} could be several nodes" if found else f"no node {name!r}"
        raise UsageError(f"{problem} in lab {self.name}; known: {known}")

    def lost(self) -> list[str]:
        """What it should have and has not: namespaces that somebody deleted, processes that ended."""
        return apply.lost(self.plan) if self.complete else []

    def readings(self) -> tuple[Reading, ...]:
        """What every limiter holds and has refused, from the kernel, now."""
        with Namespaces() as namespaces:
            return read(namespaces, self.plan.limiters)

    def connection_counts(self) -> tuple[ConnectionCounts, ...]:
        """What became of the TCP connections of every NAT node since `up`, from the kernel, now."""
        return count(self.sample(), self.plan.limiters)

    def sample(self) -> Sample:
        """Everything that NAT nodes count, from the kernel, now."""
        with Namespaces() as namespaces:
            return Sampler(self.plan.nat_nodes).take(namespaces.call)

    def samples(self) -> Iterator[Sample]:
        """Those of each second since `up`, as far as they are kept, and one of now."""
        yield from history.read(self._record.path)
        yield self.sample()

    def metrics(self, period_s: float = 60, *, last: int | None = None) -> tuple[Series, ...]:
        """What CloudWatch would show of each NAT gateway, and what it hides of each ENI, in periods up to now.

        All since `up`, as far as samples are kept, or so many of the last ones.
        """
        plan = self.plan
        if last is None:
            return fold(self.samples(), plan.nat_nodes, plan.limiters, period_s)
        samples = since(self.samples(), (time.time() // period_s - last) * period_s)
        series = fold(samples, plan.nat_nodes, plan.limiters, period_s)
        return tuple(replace(each, points=each.points[-last:]) for each in series)

    def resume_collecting(self) -> float | None:
        """Start the process that takes samples anew if it has ended; then the Unix time since when there are none.

        None when it runs, as it does unless somebody has ended it.
        """
        with self._state.locked():
            if self.gone or is_collecting(self.plan):
                return None
            last_s = max((each.at_s for each in history.read(self._record.path)), default=self._revision[1] / 1e9)
            start_collecting(self._record, self.plan)
        return last_s

    def idle_timeouts(self) -> dict[str, int]:
        """NAT node → connections forgotten after `idle_timeout` without a packet: CloudWatch's IdleTimeoutCount."""
        return {each.node: each.idle_timeouts for each in self.connection_counts()}

    def impair(
        self, node: str, *, interface: str | None = None, **faults: Unpack[FaultOptions]
    ) -> tuple[Impairment, ...]:
        """Set faults on all interfaces of a node, or on one, in place of what was set there.

        They are `rate` ("10mbit"), `loss_percent`, `latency_s` and `jitter_s` of what the node sends, and `silence`,
        which drops everything that arrives at it.
        """
        with Namespaces() as namespaces:
            return impair.impair(namespaces, self.plan, self.node(node), interface, Faults.of(**faults))

    def clear_impairments(self, node: str | None = None, *, interface: str | None = None) -> tuple[Impairment, ...]:
        """Take back what `impair` has set on a node, or anywhere in the lab; what that was."""
        nodes = self.plan.nodes if node is None else (self.node(node),)
        with Namespaces() as namespaces:
            return impair.clear(namespaces, self.plan, nodes, interface)

    def impairments(self) -> tuple[Impairment, ...]:
        """What `impair` has set, and how many packets each has dropped, from the kernel, now."""
        with Namespaces() as namespaces:
            return impair.read(namespaces, self.plan, self.plan.nodes)

    @takes_keywords_of(WatchedLoad)
    def burst(self, load: WatchedLoad) -> BurstResult:
        """So many invocations, each of which resolves the server's name, connects and holds; what was seen.

        The options are the fields of `lab.burst.load.Load`; `progress` is told several times a second how far the burst
        is, `saw` of each packet of the scapy engine. Raises UsageError for a load that makes no sense, PreflightError
        for one that this machine cannot carry, and KernelError.
        """
        return self.carry(load, load.progress, load.saw)

    def carry(
        self,
        load: Load,
        progress: Callable[[Progress], None] = _silent,
        saw: Callable[[PacketRecord], None] = _silent,
        sampled: Callable[[Sample], None] | None = None,
    ) -> BurstResult:
        """Like `burst`, with a `Load`.

        `saw` is called with each packet of the scapy engine, `sampled` several times a second with what NAT nodes
        count.
        """
        self.require_complete()
        return run_burst(self._record, self.plan, self.topology, load, Listeners(progress, saw, sampled))

    def record(self, load: Load, result: BurstResult, samples: Iterable[Sample], began_s: float) -> Run:
        """What `lab.runs.save` keeps of a burst that `carry` began at `began_s` (Unix time), with what it `sampled`."""
        return new_run(
            began_s=began_s,
            plan=self.plan,
            topology_text=self.topology_text,
            topology=self.topology,
            load=load,
            result=result,
            samples=samples,
        )


def _converge(
    state: State,
    record: Record,
    wanted: Topology,
    text: str,
    notice: Callable[[str], None],
    *,
    disruptive: bool,
) -> Convergence | None:
    """Make a lab that is up what is wanted; None when there is nothing to do."""
    old, now_s = record.plan(), time.time()
    with Namespaces() as namespaces:
        readings = read(namespaces, old.limiters)
        sources, destinations = (
            cache(partial(each, namespaces, readings)) for each in (_held_sources, _held_destinations)
        )
        held = Held(old, readings, sources, now_s, destinations)
        new = build(wanted, old.lab, drained_by(old, wanted, held.by, now_s))
        if new == old:
            return None
        found = difference(old, new)
        held = replace(held, readings=(*readings, *read(namespaces, newly_limited(old, new))))
        broken = (*breakages(new, found, held), *cut_off(record.topology(), wanted, held))
    if broken and not disruptive:
        lines = "".join(f"\n  {each}" for each in broken)
        raise ExpectationError(
            f"lab {old.lab} stays as it is, for the change would break connections that are held:{lines}\n"
            f"to do it anyway: lab up … --disruptive"
        )
    converge(state, record, (new, wanted, text), notice, rebuilt=sets_to_rebuild(new, held))
    if new.nat_nodes != old.nat_nodes:
        stop_collecting(new)
        start_collecting(record, new)
    return Convergence(old, new, found, broken)


def _held_sources(namespaces: Namespaces, readings: tuple[Reading, ...]) -> tuple[IPv4Address, ...]:
    """The source address of each connection that an ENI holds."""
    enis = [each.limiter for each in readings if each.limiter.kind == "hyperplane_eni" and each.in_use]
    return tuple(address for address, _ in held_sources(namespaces, enis))


def _held_destinations(namespaces: Namespaces, readings: tuple[Reading, ...]) -> tuple[IPv4Address, ...]:
    """The destination of each connection that an ENI holds, but where each destination has a limit of its own."""
    enis = (each.limiter for each in readings if each.limiter.kind == "hyperplane_eni" and each.in_use)
    return held_destinations(namespaces, [each for each in enis if each.destination is None])


def _require_whole(plan: Plan) -> None:
    """The kernel is the only truth: a record that says "up" proves nothing."""
    if lost := apply.lost(plan):
        raise UsageError(
            f"lab {plan.lab} is up but has lost {', '.join(lost)}; take it down, then up again: "
            f"sudo lab down --lab {plan.lab}"
        )


def _undo(state: State, record: Record, plan: Plan, notice: Callable[[str], None]) -> None:
    """Undo what failed; that something could not be undone is said beside the cause, not instead of it."""
    try:
        _take_down(state, record, plan, notice)
    except KernelError as left:
        notice(str(left))
    else:
        notice("what was made is undone")


def _take_down(state: State, record: Record, plan: Plan, notice: Callable[[str], None]) -> list[NamespaceProcess]:
    with apply.uninterrupted():
        ended = apply.undo(state, record, plan, notice)
        record.forget()
    return [each for each in ended if not each.ours]
