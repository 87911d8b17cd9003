"""`Lab`: all that can be done with a lab, as the command line and pytest do it. Each method delegates to its room.

Rooms are imported where they are used: a command that lists labs needs neither netlink nor the topology's models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import wraps
from importlib import import_module
from os import PathLike
import time
from typing import TYPE_CHECKING, NoReturn, Self, Unpack

from lab.errors import KernelError, RecordError, UsageError
from lab.kernel.state import Record, State, may_be_a_lab

if TYPE_CHECKING:
    from lab.burst.load import Load
    from lab.burst.reset import Forgotten
    from lab.burst.result import BurstResult
    from lab.burst.run import Progress
    from lab.capture.listening import Capture
    from lab.converge.change import Convergence
    from lab.diagnosis.explanation import Explanation
    from lab.diagnosis.observed import Observed
    from lab.impair.faults import FaultOptions, Impairment
    from lab.invoke.asked import Invocations
    from lab.invoke.result import InvokeResult
    from lab.invoke.run import Progress as InvokeProgress
    from lab.kernel.processes import NamespaceProcess
    from lab.metrics import Series
    from lab.metrics.exposition import Serving
    from lab.observe.readings import Reading
    from lab.observe.samples import Sample
    from lab.observe.status import Status
    from lab.plan import Plan
    from lab.plan.objects import NodePlan
    from lab.runs import Run
    from lab.topology import Topology
    from lab.trace import Trace
    from lab.watch.live import Watched
    from traffic.packet_record import PacketRecord

__all__ = ["Lab"]


if TYPE_CHECKING:
    from lab.burst.options import takes_keywords_of
    from lab.burst.run import WatchedLoad
    from lab.invoke.run import WatchedInvocations

    _takes_load, _takes_invocations = takes_keywords_of(WatchedLoad), takes_keywords_of(WatchedInvocations)
else:

    def _takes_fields_of(module, name):  # noqa: ANN001, ANN202 - what type checkers see is above
        """Give a method a dataclass's fields as keywords; its module is loaded when the method is called first."""

        def taking(method):  # noqa: ANN001, ANN202
            @wraps(method)
            def call(self, *args, **keywords):  # noqa: ANN001, ANN002, ANN003, ANN202
                return method(self, getattr(import_module(module), name)(*args, **keywords))

            return call

        return taking

    _takes_load = _takes_fields_of("lab.burst.run", "WatchedLoad")
    _takes_invocations = _takes_fields_of("lab.invoke.run", "WatchedInvocations")


def _ignore(_: object) -> None:
    """The default of `notice` and `progress`: ignores what it is called with."""


class Lab:
    """A lab that is up on this machine.

    Use it as a context manager to have it taken down whatever happens::

        with Lab.up("topologies/two_subnets.yaml") as lab:
            assert lab.burst(140_000).bottleneck == "hyperplane_eni"

    Every method may raise KernelError, when the kernel refuses a step or a part of the lab was removed.
    """

    def __init__(
        self,
        record: Record,
        state: State,
        *,
        plan: Plan | None = None,
        changed: bool = False,
        convergence: Convergence | None = None,
    ) -> None:
        self._record = record
        self._state = state
        self._identity, self._revision = "", record.revision()
        self._plan, self._fault = plan, None
        try:
            self._identity = record.identity()
            self._plan = self._plan or record.plan()
        except RecordError as fault:
            self._fault = fault
        self.changed = changed
        """Whether this very call brought it up or changed it."""
        self.convergence = convergence
        """What this very call changed of a lab that was up; None of one that was not, or stayed as it was."""

    # ── Up and down ─────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def up(
        cls,
        topology: str | PathLike[str],
        *,
        name: str | None = None,
        scale: int | None = None,
        disruptive: bool = False,
        repair: bool = False,
        notice: Callable[[str], None] = _ignore,
    ) -> Self:
        """Build the lab of a topology file, every limit divided by `scale`; one that is up becomes what the file has.

        Without a `scale` a lab that is up keeps the one it has, and `notice` is told.
        A lab that is up as wanted stays as it is; one that differs is changed, and connections that the change does not
        touch stay. ExpectationError when it would break connections that are held, unless it may be `disruptive`.
        What a lab that is up has lost is made again with `repair`, and is a UsageError without it.
        `notice` gets sentences for the user, such as that a host-wide setting was raised.

        Raises TopologyError, UsageError, PreflightError, or KernelError, and then has left nothing behind, or a lab
        that was up as it was.
        """
        from lab.converge.change import Wanted, kept_scale
        from lab.converge.up import bring_up
        from lab.kernel.preflight import require_everything

        state = State()
        wanted = Wanted.read(topology, name, scale, state)
        for line in wanted.without_effect:
            notice(line)
        require_everything()
        with state.changing(wanted.plan.lab):
            if scale is None and kept_scale(state, wanted.plan.lab) != wanted.scale:  # another `up` came first
                wanted = Wanted.read(topology, name, scale, state)
            done = bring_up(state, wanted, notice, disruptive=disruptive, mend=repair)
        if scale is None and wanted.scale > 1:
            notice(
                f"lab {done.plan.lab} keeps its limits divided by {wanted.scale:,}; --scale 1 has them as the file has"
            )
        return cls(done.record, state, plan=done.plan, changed=done.changed, convergence=done.convergence)

    @staticmethod
    def dry_run(
        topology: str | PathLike[str], *, name: str | None = None, scale: int | None = None
    ) -> Plan | Convergence:
        """What `up` would do: the plan of a lab that is not up, or the change of one that is. Does nothing.

        A change depends on which connections are held, and reading that needs root (PreflightError); a plan does not.
        Raises TopologyError and UsageError as `up` does.
        """
        from lab.converge.change import Wanted
        from lab.converge.up import foresee

        state = State()
        return foresee(state, Wanted.read(topology, name, scale, state))

    @classmethod
    def find(cls, name: str | None = None, *, to_take_down: bool = False) -> Self:
        """The lab of that name, or the only one that is up; UsageError lists the known ones.

        `to_take_down` finds one without a record as well, if anything bears its name. PreflightError where root may not
        do what labs take.
        """
        from lab.kernel.invoker import labs_of_root
        from lab.kernel.preflight import require_capabilities

        require_capabilities()
        state = State()
        if to_take_down:
            state.forget_unfinished(awaited=name)
        records = state.records()
        known = ", ".join(record.lab for record in records) or "none is up"
        if name is None:
            if len(records) != 1:
                what = "several labs are up" if records else "no lab is up"
                help_ = f"name one with --lab: {known}" if records else "bring one up: lab up TOPOLOGY.yaml"
                of_root = ", or look at root's: sudo lab list" if labs_of_root() else ""
                raise UsageError(f"{what}; {help_}{of_root}")
            name = records[0].lab
        record = next((record for record in records if record.lab == name), None)
        if record is None and to_take_down and (without_record := cls._without_record(state, name)):
            return without_record
        if record is None:
            raise UsageError(f"no lab {name!r}; known: {known}")
        try:
            return cls(record, state)
        except FileNotFoundError:
            raise UsageError(f"lab {record.lab} has just been taken down") from None

    @classmethod
    def _without_record(cls, state: State, name: str) -> Self | None:
        """What is left of a lab whose record is gone."""
        from lab.kernel.remains import remains, unnamed_namespaces

        if not may_be_a_lab(name):
            return None
        record = state.new_record(name)
        plan = remains(state, record)
        return cls(record, state, plan=plan) if plan.namespaces or unnamed_namespaces(record) else None

    @classmethod
    def all(cls, *, to_take_down: bool = False) -> list[Self]:
        """Every lab of root's, or of this sandbox, half-built ones included, by name.

        PreflightError where root may not do what taking them down takes.
        """
        state = State()
        if to_take_down:
            from lab.kernel.preflight import require_capabilities

            require_capabilities()
            state.forget_unfinished()
        labs = list[Self]()
        for record in state.records():
            with suppress(FileNotFoundError):  # taken down since they were listed
                labs.append(cls(record, state))
        return labs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self, notice: Callable[[str], None] = _ignore) -> list[NamespaceProcess]:
        """Take everything away, by the recorded plan; which processes of others were ended with it."""
        from lab.converge.down import take_down
        from lab.kernel.remains import remains

        with self._state.changing(self._record.lab):
            if self.gone:
                return []
            if self._fault is not None:
                notice(f"{self._fault.fault}; it is taken down all the same")
            return take_down(self._state, self._record, remains(self._state, self._record), notice)

    # ── What it is ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def plan(self) -> Plan:
        """The plan that was applied; `up` on a lab that is up may have changed it meanwhile. RecordError: damaged."""
        if self._plan is None:
            raise self._fault or RecordError(f"the record of lab {self.name} is gone", "lab list names those there are")
        revision = self._record.revision()
        if revision not in (self._revision, (0, 0)) and self._record.identity() == self._identity:
            self._revision, self._plan = revision, self._record.plan()
        return self._plan

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._record.lab

    @property
    def complete(self) -> bool:
        """Whether `up` came to its end; a lab that is not complete can only be taken down."""
        return self.fault is None and self._record.path.exists() and self._record.phase() == "up"

    @property
    def fault(self) -> RecordError | None:
        """What is wrong with its record, if no more can be done with the lab than to take it down."""
        try:
            return self._record.fault()
        except FileNotFoundError:  # taken down meanwhile
            return None

    def require_complete(self) -> Self:
        """The lab again, if it is complete; UsageError or RecordError says what to do with one that is not."""
        if (lack := self.require_readable().unfinished) is not None:
            raise UsageError(f"lab {self.name} {lack}")
        return self

    @property
    def unfinished(self) -> str | None:
        """Why it cannot be used, though its record can be read, as the end of a sentence; None if it can be."""
        if self.gone:
            return "has been taken down"
        if self.complete:
            return None
        try:
            changing = self._state.is_changing(self.name)
        except PermissionError:  # only root may look at the lock
            return "is being built, changed or taken down, or is half built"
        if changing:
            return "is being built, changed or taken down; try again when that is done"
        return f"is half built; take it down: lab down --lab {self.name}"

    def require_readable(self) -> Self:
        """The lab again, half built or not, if its record can be read; RecordError says what is wrong with it."""
        if (fault := self.fault) is not None:
            raise fault
        return self

    @property
    def gone(self) -> bool:
        """Whether it has been taken down meanwhile; what bears its name now is another."""
        try:
            return self._record.identity() != self._identity
        except RecordError:  # it is there
            return False

    @property
    def topology(self) -> Topology:
        """The topology as it was applied, its limits scaled."""
        return self._record.topology()

    @property
    def topology_text(self) -> str:
        """The topology file as it was written when it was applied."""
        return self._record.topology_text()

    def node(self, name: str) -> NodePlan:
        """The node of that name (`eni-private-a`) or of that name in the topology (`cache`); UsageError lists them."""
        named = [node for node in self.plan.nodes if name in (node.name, node.namespace)]
        nodes = named or [node for node in self.plan.nodes if name == node.alias]
        if len(nodes) == 1:
            return nodes[0]
        known = ", ".join(node.name for node in nodes or self.plan.nodes)
        problem = f"{name!r} could be several nodes" if nodes else f"no node {name!r}"
        raise UsageError(f"{problem} in lab {self.name}; known: {known}")

    def lost(self, *, at_once: bool = False) -> list[str]:
        """What its plan has and this machine has not: whatever was deleted, flushed, set down, ended or stopped.

        `at_once` looks at namespaces and processes alone, which takes some milliseconds.
        """
        from lab.kernel.losses import losses, lost, told

        if not self.complete:
            return []
        if at_once:
            return lost(self.plan)
        try:
            return told(losses(self.plan))
        except (OSError, KernelError):
            if self.complete and (gone := lost(self.plan)):  # while it was looked at
                return gone
            raise

    def has_lost(self, lost: Sequence[str]) -> str:
        """What is lost, as the beginning of a sentence."""
        return f"lab {self.name} has lost {', '.join(lost)}"

    @property
    def way_out(self) -> str:
        """What to do about what is lost, as the end of a sentence."""
        from lab.kernel.losses import way_out

        return way_out(self.name)

    # ── What the kernel counts ──────────────────────────────────────────────────────────────────────────────

    def sample(self) -> Sample:
        """Everything that NAT nodes count, from the kernel, now."""
        from lab.observe.sampling import sample_now

        with self.losses_named():
            return sample_now(self.plan.nat_nodes)

    def samples(self) -> Iterator[Sample]:
        """Samples of each second since `up`, as far as they are kept, and one of now."""
        from lab.observe import history

        yield from history.read(self._record.path)
        yield self.sample()

    def readings(self) -> tuple[Reading, ...]:
        """What every limiter holds and has refused, from the kernel, now."""
        from lab.kernel.netns import Namespaces
        from lab.observe.limiters import read

        with Namespaces() as namespaces:
            return read(namespaces, self.plan.limiters)

    def readings_with_fills(self) -> tuple[Reading, ...]:
        """The same, with what holds the slots: established, half-open (to whom, until when) and closing connections.

        It takes some 15 us for each connection that is not established.
        """
        from lab.kernel.netns import Namespaces
        from lab.observe.fills import read_with_fills

        with Namespaces() as namespaces:
            return read_with_fills(namespaces, self.plan.limiters, self.plan)

    def status(self) -> Status:
        """Nodes and addresses, what is lost, limits and what is held of them, connections.

        Without numbers if it is half built, or if what it has lost keeps them from being read.
        """
        from lab.observe.status import Status, status

        lost = tuple(self.lost())
        try:
            return replace(status(self.plan, complete=self.complete), lost=lost)
        except (OSError, KernelError):
            if not lost:
                raise
            return Status(self.plan, self.complete, lost=lost)

    def metrics(self, period_s: float = 60, *, last: int | None = None) -> tuple[Series, ...]:
        """What CloudWatch would show of each NAT gateway, and what it hides of each ENI, in periods up to now.

        All since `up`, as far as samples are kept, or so many of the last ones.
        """
        from lab.metrics import fold, fold_last

        plan = self.plan
        if last is None:
            return fold(self.samples(), plan.nat_nodes, plan.limiters, period_s)
        return fold_last(self.samples(), plan.nat_nodes, plan.limiters, period_s, last=last, now_s=time.time())

    def serve_metrics(self, port: int) -> Serving:
        """Answer Prometheus on 127.0.0.1 until it is closed; port 0 is any. OSError when the port is in use."""
        from lab.metrics.exposition import serve
        from lab.metrics.live import observer

        return serve(observer(self), port)

    def resume_collecting(self, notice: Callable[[str], None] = _ignore) -> None:
        """Start the process that takes samples again if it was ended; `notice` is told what is missing.

        What the kernel counted meanwhile is not lost, but which period it belongs to is not known.
        """
        from lab.observe.collector import resume

        with self._state.changing(self._record.lab):
            if not self.gone:
                resume(self._record, self.plan, self._revision[1] / 1e9, notice)

    def watch(self, verdict: Callable[[], str | None] = lambda: None) -> AbstractContextManager[Watched]:
        """Look at it again and again (`Watched.look`), also while `up` changes it; `verdict` is shown beside it."""
        from lab.watch.live import watching

        return watching(self, verdict)

    # ── Traffic, faults, programs ───────────────────────────────────────────────────────────────────────────

    @_takes_load
    def burst(self, load: WatchedLoad) -> BurstResult:
        """So many invocations, each of which resolves the server's name, connects and holds; what was seen.

        The options are the fields of `lab.burst.load.Load`; `progress` is told several times a second how far the burst
        is, `saw` of each packet of the scapy engine. Raises UsageError for a load that makes no sense, and for a lab
        that has lost something unless it is to be used `anyway`; PreflightError for a load that this machine cannot
        carry, and KernelError.
        """
        return self.carry(load, load.progress, load.saw)

    def carry(
        self,
        load: Load,
        progress: Callable[[Progress], None] = _ignore,
        saw: Callable[[PacketRecord], None] = _ignore,
        sampled: Callable[[Sample], None] | None = None,
        found: Callable[[Sequence[Reading]], None] = _ignore,
    ) -> BurstResult:
        """Run the burst that a `Load` describes, as `burst` does.

        `progress` is called several times a second, `saw` with each packet of the scapy engine, `sampled` several times
        a second with what NAT nodes count, `found` once with what limiters hold before.
        """
        from lab.burst.run import Listeners, run_burst

        lost = self.require_complete().lost()
        if lost and not load.anyway:
            raise UsageError(
                f"{self.has_lost(lost)}: connections would fail for want of it; {self.way_out}; "
                "to burst in spite of it: --anyway"
            )
        listeners = Listeners(progress, saw, sampled, found)
        with self.losses_named():
            return run_burst(self._record, self.plan, self.topology, load, listeners, lost_before=lost)

    @_takes_invocations
    def invoke(self, asked: WatchedInvocations) -> InvokeResult:
        """So many invocations of your own handler, in execution environments with their own addresses; what was seen.

        The options are the fields of `lab.invoke.asked.Invocations`; `progress` is told several times a second how far
        it is. Raises UsageError for code or options that make no sense, and for a lab that has lost something;
        PreflightError for what this machine lacks, and KernelError.
        """
        return self.carry_invocations(asked, asked.progress)

    def carry_invocations(
        self,
        asked: Invocations,
        progress: Callable[[InvokeProgress], None] = _ignore,
        sampled: Callable[[Sample], None] | None = None,
    ) -> InvokeResult:
        """Run what `Invocations` describes, as `invoke` does; `sampled` is told what NAT nodes count."""
        from lab.invoke.run import Listeners, invoke

        if lost := self.require_complete().lost():
            raise UsageError(f"{self.has_lost(lost)}: connections would fail for want of it; {self.way_out}")
        with self.losses_named():
            return invoke(self._record, self.plan, asked, Listeners(progress, sampled))

    @contextmanager
    def observe(self) -> Iterator[Observed]:
        """What the kernel of the lab does while the block runs, whatever opens connections in it.

        ::

            with lab.observe() as observed:
                subprocess.run(["lab", "exec", "checkout", "--", "./load-test"], check=True)
            assert observed.seen.refused_connections == 0, observed.verdict.headline

        `observed` has values when the block has ended without an exception.
        """
        from lab.burst.observing import Observing
        from lab.diagnosis.observed import Observed
        from lab.kernel.netns import Namespaces

        self.require_complete()
        with self.losses_named(), Namespaces() as namespaces:
            observing, observed = Observing(namespaces, self.plan, self._record), Observed()
            with observing.watching():
                yield observed
            observed.has_ended(observing.seen())

    def reset(self) -> Forgotten:
        """Forget all its connections, slots and conntrack entries alike; counters and metrics go on. What they were.

        What holds such a connection gets an RST when it goes on. UsageError while a burst runs in it.
        """
        from lab.burst.reset import reset

        self.require_complete()
        with self.losses_named(), self._state.changing(self.name):
            self.require_complete()
            return reset(self._record, self.plan)

    def record(self, load: Load, result: BurstResult, samples: Iterable[Sample], began_s: float) -> Run:
        """What `lab.runs.save` keeps of a burst that `carry` began at `began_s` (Unix time), with what it `sampled`."""
        from lab.runs import new_run

        return new_run(
            began_s=began_s,
            plan=self.plan,
            topology_text=self.topology_text,
            topology=self.topology,
            load=load,
            result=result,
            samples=samples,
        )

    def impair(
        self, node: str, *, interface: str | None = None, **faults: Unpack[FaultOptions]
    ) -> tuple[Impairment, ...]:
        """Set faults on all interfaces of a node, or on one, in place of what was set there.

        They are `rate` ("10mbit"), `loss_percent`, `latency_s` and `jitter_s` of what the node sends, and `silence`,
        which drops everything that arrives at it. PreflightError when this kernel lacks what they need.
        """
        from lab.errors import KernelError
        from lab.impair import apply, ledger
        from lab.impair.faults import Faults
        from lab.kernel.netns import Namespaces

        target, wanted = self.node(node), Faults.of(**faults)
        with self.losses_named(), Namespaces() as namespaces:
            before = apply.read(namespaces, self.plan, [target])
            try:
                made = apply.impair(namespaces, self.plan, target, interface, wanted)
            except KernelError:
                left = {impairment.interface for impairment in apply.read(namespaces, self.plan, [target])}
                ledger.note(self._record.path, (gone for gone in before if gone.interface not in left))
                raise
        interfaces = {impairment.interface for impairment in made}
        ledger.note(self._record.path, (replaced for replaced in before if replaced.interface in interfaces))
        return made

    def clear_impairments(self, node: str | None = None, *, interface: str | None = None) -> tuple[Impairment, ...]:
        """Take back what `impair` has set on a node, or anywhere in the lab; what that was."""
        from lab.impair import apply, ledger
        from lab.kernel.netns import Namespaces

        nodes = self.plan.nodes if node is None else (self.node(node),)
        with self.losses_named(), Namespaces() as namespaces:
            cleared = apply.clear(namespaces, self.plan, nodes, interface)
        ledger.note(self._record.path, cleared)
        return cleared

    def impairments(self) -> tuple[Impairment, ...]:
        """What `impair` has set, and how many packets each has dropped, from the kernel, now."""
        from lab.impair import apply
        from lab.kernel.netns import Namespaces

        with self.losses_named(), Namespaces() as namespaces:
            return apply.read(namespaces, self.plan, self.plan.nodes)

    def exec(self, node: str, command: Sequence[str]) -> NoReturn:
        """Become a program in a node, as os.execv does: this process is that program's from here on.

        Environment variables name the lab's authority, so that it trusts the certificates of the lab's servers.

        PreflightError when this machine has no such program.
        """
        from lab.kernel.authority import trusting
        from lab.kernel.become import become
        from lab.plan.names import authority_file

        become(self.node(node).namespace, command, trusting(authority_file(self.name)))

    @contextmanager
    def capture(
        self, *places: str, dropped: bool = False, expression: str | None = None, snap_bytes: int | None = None
    ) -> Iterator[Capture]:
        """Listen at nodes or interfaces (`natgw`, `natgw:inet`), or everywhere on the way; `Capture.record` writes it.

        With `dropped` only what limits refuse is heard; an `expression` is tcpdump's; `snap_bytes` of each packet are
        kept, or all. UsageError for a place or an expression that is none.
        """
        from lab.capture.listening import listening

        at = listening(self.plan, self.node, places, dropped=dropped, expression=expression, snap_bytes=snap_bytes)
        with ExitStack() as stack:
            with self.losses_named():
                capture = stack.enter_context(at)
            yield capture

    # ── Why connections were lost ───────────────────────────────────────────────────────────────────────────

    def why(
        self,
        function: str | None = None,
        server: str | None = None,
        *,
        client: str | None = None,
        notice: Callable[[str], None] = _ignore,
    ) -> Explanation:
        """Why it refuses connections now, since when, and what would help `function` (or `client`) to reach `server`.

        Both are those of the first refusal unless given; UsageError for names that the topology has not.
        """
        from lab.burst.lacking import noted
        from lab.capacity.predict import choose, choose_source
        from lab.diagnosis.explanation import LabNow, of_lab
        from lab.kernel.netns import Namespaces
        from lab.kernel.open_files import full_processes
        from lab.observe.drops import dropped_packets
        from lab.observe.host_ports import ports_in_use

        topology = self.topology
        source = None if function is client is None else choose_source(topology, function, client)
        choose((known.name for known in topology.servers), server, "server")
        with self.losses_named():
            self.resume_collecting(notice)
            with Namespaces() as namespaces:
                dropped = dropped_packets(namespaces, self.plan.barriers)
                ports = ports_in_use(namespaces, self.plan)
                full_ports = tuple(each for each in ports if each.in_use >= each.ports)
            now = LabNow(
                plan=self.plan,
                topology=topology,
                readings=self.readings_with_fills(),
                samples=self.samples(),
                dropped=dropped,
                impairments=self.impairments(),
                lost=tuple(self.lost()),
                full_processes=tuple(full_processes(self.plan.namespaces)),
                lacking=noted(self._record.path),
                full_ports=full_ports,
            )
            return of_lab(now, source, server)

    def trace(self, connection: str, server: str | None = None) -> tuple[Trace, ...]:
        """Where a connection is, node by node, or where it died: each that has this address and port at either end.

        `connection` is written `100.65.0.0:536`: at the function, behind the ENI, or at the NAT gateway. UsageError for
        what is written otherwise, and for a server that the topology has not.
        """
        from lab.kernel.netns import Namespaces
        from lab.observe.drops import dropped_packets
        from lab.trace import KernelView, Surroundings, TracedLab, end_of, follow

        end = end_of(connection)
        with self.losses_named(), Namespaces() as namespaces:
            around = Surroundings(dropped_packets(namespaces, self.plan.barriers), self.impairments())
            return follow(TracedLab(self.plan, self.topology, KernelView(namespaces), around), end, server)

    @contextmanager
    def losses_named(self) -> Iterator[None]:
        """UsageError that names what it has lost, in place of the error of the reading that failed for want of it.

        KernelError where another command changes it or takes it down: nothing is lost then.
        """
        try:
            yield
        except (OSError, KernelError) as refused:
            if self.gone or self._state.is_changing(self.name):
                raise KernelError(f"lab {self.name} was changed or taken down meanwhile: {refused}") from refused
            if lost := self.lost():
                raise UsageError(f"{self.has_lost(lost)}; {self.way_out}") from refused
            raise
