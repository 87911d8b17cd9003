"""A lab comes and goes: whatever happens on the way, nothing of it is left, and nothing of others is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import re
import signal
import subprocess
import time
from typing import Any

import pytest

from lab.errors import KernelError, UsageError
from lab.kernel.apply import STEPS
from lab.kernel.invoker import runnable
from lab.kernel.processes import NamespaceProcess, end, processes_in
from lab.kernel.state import State
from lab.lab import Lab
from lab.nodes.build import build
from lab.plan import describe
from lab.plan.describe import describe_object
from lab.plan.objects import File, Namespace, Plan, Process, VethPair
from lab.pytest_plugin import LabUp
from lab.topology import load
from tests.support.command import Ended, run_lab, start_lab
from tests.support.labs import eventually, slots
from tests.support.machine import ETC_NETNS, NETNS, RUN_LAB, hosts_own_network, ip, left_of, require_machine

Small = Callable[..., Lab]
SmallFile = Callable[..., Path]
Moment = Callable[[str], bool]

# ── Up, down ────────────────────────────────────────────────────────────────────────────────────────────────


def at_home(lab: Lab) -> list[NamespaceProcess]:
    """The processes of a lab of `small`, once all run: the resolver, two servers, and the collector of samples.

    `up` waits for those that announce themselves; the collector does not, and has its program a moment later.
    """
    assert eventually(lambda: [each.ours for each in processes_in(lab.plan.namespaces)] == [True] * 4)
    return processes_in(lab.plan.namespaces)


def test_down_leaves_nothing(small: Small) -> None:
    """After `down` there is no namespace, no process and no file of the lab."""
    lab = small()
    lab.burst(10)
    before = at_home(lab)
    assert left_of(lab.name)
    assert lab.down() == []
    assert left_of(lab.name) == []
    assert not any(Path(f"/proc/{each.pid}").exists() for each in before)


def test_the_hosts_own_network_is_as_it_was(small: Small) -> None:
    """Links, addresses, routes, rules, rulesets and settings of the host's own namespace do not change, ever."""
    require_machine()
    before = hosts_own_network()
    lab = small()
    assert hosts_own_network() == before
    lab.burst(10)
    assert hosts_own_network() == before
    lab.down()
    assert hosts_own_network() == before


def identities(plan: Plan) -> list[int]:
    """Which namespaces bear the names of a plan."""
    return [(NETNS / name).stat().st_ino for name in plan.namespaces]


def test_up_twice_changes_nothing(small_file: SmallFile, lab_name: str) -> None:
    """`up` on a lab that is up as wanted is no change: the same namespaces, the same processes.

    Processes by their ids: the collector enters one node after another, and is in any of them when it is looked at.
    """
    first = Lab.up(small_file(), name=lab_name)
    before = identities(first.plan), [process.pid for process in at_home(first)]
    second = Lab.up(small_file(), name=lab_name)
    assert (first.changed, second.changed) == (True, False)
    assert (identities(second.plan), [process.pid for process in at_home(second)]) == before
    assert second.burst(5).tcp.established == 5


def test_another_topology_under_the_same_name(small_file: SmallFile, lab_name: str) -> None:
    """`up` with a file that has changed changes the lab: the same namespaces, the new limit."""
    lab = Lab.up(small_file(eni=5), name=lab_name)
    before = identities(lab.plan)
    assert Lab.up(small_file(eni=6), name=lab_name).changed
    assert identities(lab.plan) == before
    assert lab.burst(8, connect_timeout_s=1.5).tcp.established == 6


def test_fewer_descriptors_than_namespaces(small_file: SmallFile, lab_name: str) -> None:
    """`up` refuses a lab that needs more descriptors than it may have, and comes up with as many as it then names."""

    def up(descriptors: int) -> Ended:
        limited = ("sh", "-c", f'ulimit -n {descriptors} && exec "$0" "$@"')
        return run_lab("up", small_file(), "--name", lab_name, through=limited)

    refused = up(75)
    assert refused.status == 3
    named = re.search(r"(\d+) namespaces and traffic processes .* (\d+) fit .*: ulimit -n (\d+)", refused.stderr)
    assert named is not None
    wanted, fit, enough = map(int, named.groups())
    assert enough - 75 == wanted - fit
    assert left_of(lab_name) == []
    assert up(enough).status == 0


def test_too_little_address_space(small_file: SmallFile, lab_name: str) -> None:
    """`up` refuses before it makes anything: threads that get no memory later would leave it waiting."""
    refused = run_lab(
        "up", small_file(), "--name", lab_name, through=("sh", "-c", 'ulimit -v 300000 && exec "$0" "$@"')
    )
    assert (refused.status, "ulimit -v unlimited" in refused.stderr) == (3, True)
    assert left_of(lab_name) == []


def test_down_twice(small: Small) -> None:
    """Taking down what is down already is no error."""
    lab = small()
    lab.down()
    assert lab.down() == []
    with pytest.raises(UsageError, match=f"no lab '{lab.name}'"):
        Lab.find(lab.name)


def test_down_without_the_topology_file(small_file: SmallFile, lab_name: str) -> None:
    """A lab is taken down by what was recorded, whatever became of the file that it was made from."""
    path = small_file()
    Lab.up(path, name=lab_name)
    path.unlink()
    Lab.find(lab_name).down()
    assert left_of(lab_name) == []


def test_a_residents_program_ends_with_the_lab_and_is_named(small: Small) -> None:
    """A program that somebody runs in a node ends with the lab, and `down` says whose namespace it lived in."""
    lab = small()
    node = lab.node("cache").namespace
    with subprocess.Popen(("ip", "netns", "exec", node, "sleep", "60")) as sleeper:
        assert eventually(lambda: any(each.command == "sleep" for each in processes_in([node])))
        (ended,) = lab.down()
        assert (ended.pid, ended.command, ended.namespace) == (sleeper.pid, "sleep", node)
    assert left_of(lab.name) == []


def test_two_labs_of_one_topology_side_by_side(small: Small) -> None:
    """Two labs with the same addresses do not meet: a burst in one takes no slot of the other, nor does its end."""
    one, other = small(), small()
    full = one.burst(25, connect_timeout_s=1.5, leave_open=True)
    assert full.tcp.established == slots(one, "eni-private") == 20
    assert slots(other, "eni-private") == slots(other, "natgw") == 0
    one.down()
    result = other.burst(20, connect_timeout_s=1.5)
    assert (result.tcp.established, result.disagreements) == (20, ())


@pytest.mark.alone
def test_the_conntrack_maximum(topologies: Path, lab_name: str) -> None:
    """A lab that needs more entries raises the host's maximum, and says so; the last of two labs restores it."""
    setting, record = Path("/proc/sys/net/netfilter/nf_conntrack_max"), State().conntrack_max_record
    path = topologies / "seven_subnets_eight_eips.yaml"
    found = int(setting.read_text(encoding="utf-8"))
    if record.exists() or found > 900_000:
        pytest.skip(f"net.netfilter.nf_conntrack_max is {found:,} already: there is nothing to raise")
    said: list[str] = []
    with Lab.up(path, name=f"{lab_name}-a", notice=said.append) as one:
        raised = int(setting.read_text(encoding="utf-8"))
        (notice,) = said
        assert notice.startswith(f"raised net.netfilter.nf_conntrack_max from {found:,} to {raised:,} for the whole")
        assert notice.endswith("the last `lab down` restores it")
        with Lab.up(path, name=f"{lab_name}-b", notice=said.append) as other:
            one.down(said.append)
            assert int(setting.read_text(encoding="utf-8")) == raised >= 880_000
            assert len(said) == 1
            other.down(said.append)
    assert int(setting.read_text(encoding="utf-8")) == found
    assert said[1:] == [f"restored net.netfilter.nf_conntrack_max to {found:,}"]
    assert not record.exists()


# ── Steps that fail ─────────────────────────────────────────────────────────────────────────────────────────


def failing(monkeypatch: pytest.MonkeyPatch, kind: type, which: int, error: BaseException) -> list[Any]:
    """Let the making of one object fail, counted among its kind; the objects that were asked for, that one last."""
    do, undo = STEPS[kind]
    seen: list[Any] = []

    def step(site: Any, item: Any) -> None:
        seen.append(item)
        if len(seen) == which:
            raise error
        do(site, item)

    monkeypatch.setitem(STEPS, kind, (step, undo))
    return seen


def first(_: int) -> int:
    """The first object of its kind."""
    return 1


def last(count: int) -> int:
    """The last of so many."""
    return count


STEPS_THAT_FAIL = (
    *((kind, first) for kind in (Namespace, VethPair, Process)),
    *((kind, last) for kind in STEPS),
)


@pytest.mark.parametrize(("kind", "choose"), STEPS_THAT_FAIL, ids=lambda each: each.__name__)
def test_a_step_that_the_kernel_refuses_is_named_and_undone(
    small_file: SmallFile,
    lab_name: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: type,
    choose: Callable[[int], int],
) -> None:
    """Whichever step fails, the error names it with the kernel's reason, and nothing of the lab is left."""
    plan = build(load(small_file()), lab_name)
    which = choose(sum(isinstance(each, kind) for each in plan.objects))
    seen = failing(monkeypatch, kind, which, OSError(12, "Cannot allocate memory"))
    said: list[str] = []
    with pytest.raises(KernelError) as refused:
        Lab.up(small_file(), name=lab_name, notice=said.append)
    step = describe_object(seen[-1]).partition("\n")[0]
    assert len(seen) == which
    assert str(refused.value) == f"the kernel refused a step: {step}: [Errno 12] Cannot allocate memory"
    assert "what was made is undone" in said
    assert left_of(lab_name) == []


def test_a_link_that_does_not_come_up(small_file: SmallFile, lab_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab whose links do not come up in time is refused and undone like any other step."""
    monkeypatch.setattr("lab.kernel.rtnl._UP_WITHIN_S", -1.0)
    monkeypatch.setattr("lab.kernel.rtnl._down", lambda _: ["segment"])
    with pytest.raises(KernelError, match=r"every interface up: .* not up after .*: segment"):
        Lab.up(small_file(), name=lab_name)
    assert left_of(lab_name) == []


def test_a_process_that_does_not_start(small_file: SmallFile, lab_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traffic process that ends before it is ready fails the lab with its own words, and the others end too."""
    do, undo = STEPS[Process]

    def without_address(site: Any, item: Process) -> None:
        do(site, Process(item.namespace, item.verb, item.spec.replace("203.0.113.20", "203.0.113.21")))

    monkeypatch.setitem(STEPS, Process, (without_address, undo))
    with pytest.raises(KernelError, match=r"srv-store did not start: .*Cannot assign requested address"):
        Lab.up(small_file(), name=lab_name)
    assert left_of(lab_name) == []


def test_an_interrupt_at_a_step_is_undone(
    small_file: SmallFile, lab_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt in the midst of a step stays an interrupt, and nothing of the lab is left."""
    failing(monkeypatch, Process, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Lab.up(small_file(), name=lab_name)
    assert left_of(lab_name) == []


def test_what_could_not_be_taken_back_can_be_later(
    small_file: SmallFile, lab_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure on the way down is named, does not stop the rest, and leaves a record for another `down`."""
    lab = Lab.up(small_file(), name=lab_name)
    do, _ = STEPS[File]

    def refuse(_: object, __: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setitem(STEPS, File, (do, refuse))
        with pytest.raises(KernelError, match=r"could not be taken back: file .*resolv.conf.*Read-only file system"):
            lab.down()
    assert not list(NETNS.glob(f"lab-{lab_name}-*"))
    Lab.find(lab_name).down()
    assert left_of(lab_name) == []


def test_a_foreign_namespace_is_left_alone(small_file: SmallFile, lab_name: str) -> None:
    """A namespace that the lab would need and has not made is named, refused and not touched."""
    foreign = f"lab-{lab_name}-vpc"
    ip("netns", "add", foreign)
    try:
        ip("link", "add", "precious", "type", "bridge", namespace=foreign)
        before = (NETNS / foreign).stat().st_ino
        with pytest.raises(KernelError, match=rf"{foreign}\b.*there already"):
            Lab.up(small_file(), name=lab_name)
        assert (NETNS / foreign).stat().st_ino == before
        assert "precious" in {each["ifname"] for each in ip("link", namespace=foreign)}
        assert left_of(lab_name) == [str(NETNS / foreign)]
    finally:
        ip("netns", "del", foreign)


# ── Killed, interrupted ─────────────────────────────────────────────────────────────────────────────────────


def recorded(lab: str) -> bool:
    """Nothing is made yet."""
    return (RUN_LAB / lab / "plan.json").exists()


def namespaces(count: int) -> Moment:
    """So many namespaces are made."""
    return lambda lab: len(list(NETNS.glob(f"lab-{lab}-*"))) >= count


def wired(lab: str) -> bool:
    """All namespaces are made, and links are on their way into the last one."""
    return namespaces(9)(lab) and len(ip("link", namespace=f"lab-{lab}-srv-store") or ()) > 1


def starting(lab: str) -> bool:
    """The first process has been started."""
    return any((RUN_LAB / lab / "log").glob("*"))


def nearly_up(lab: str) -> bool:
    """Only the processes' readiness is waited for."""
    return any(ETC_NETNS.glob(f"lab-{lab}-*/nsswitch.conf"))


MOMENTS = (recorded, namespaces(1), wired, starting, nearly_up)

at_each_moment = pytest.mark.parametrize(
    "moment", MOMENTS, ids=("recorded", "a namespace", "wired", "starting", "nearly up")
)


@contextmanager
def going_up(path: Path, lab: str, moment: Moment) -> Iterator[subprocess.Popen[str]]:
    """`lab up`, when it has come so far."""
    with start_lab("up", path, "--name", lab) as process:
        try:
            deadline = time.monotonic() + 60
            while not moment(lab):
                assert process.poll() is None, f"it ended before: {process.communicate()}"
                assert time.monotonic() < deadline
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@at_each_moment
def test_a_killed_up_can_be_taken_down(small_file: SmallFile, lab_name: str, moment: Moment) -> None:
    """However far `up` was when it was killed: `down` removes all of it, and the lab can be brought up at once."""
    path = small_file()
    with going_up(path, lab_name, moment) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert left_of(lab_name)
    half_built = Lab.find(lab_name)
    if not half_built.complete:  # it is when it was killed too late
        said = f"half built; take it down: lab down --lab {lab_name}"
        with pytest.raises(UsageError, match=said):
            half_built.burst(1)
    half_built.down()
    assert left_of(lab_name) == []
    assert Lab.up(path, name=lab_name).complete


def test_up_replaces_what_a_killed_up_left(small_file: SmallFile, lab_name: str) -> None:
    """`up` on a half-built lab takes its remains away first, also when the file has changed since."""
    with going_up(small_file(eni=20), lab_name, starting) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    lab = Lab.up(small_file(eni=7), name=lab_name)
    assert lab.changed
    assert lab.burst(9, connect_timeout_s=1.5).tcp.established == 7


@at_each_moment
def test_ctrl_c_during_up_leaves_nothing(small_file: SmallFile, lab_name: str, moment: Moment) -> None:
    """However far `up` was at Ctrl-C, which all of its process group gets: status 130, undone, and nothing left.

    Or it was too late, and the lab is up.
    """
    with going_up(small_file(), lab_name, moment) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    if process.returncode == 0:
        assert Lab.find(lab_name).complete
    else:
        assert (process.returncode, said) == (130, "what was made is undone\ninterrupted\n")
        assert left_of(lab_name) == []


@pytest.mark.parametrize("after_s", [0.01, 0.04, 0.1])
def test_impatience_during_up_leaves_nothing(small_file: SmallFile, lab_name: str, after_s: float) -> None:
    """Ctrl-C at any time, and again while it is being undone, makes no difference."""
    with going_up(small_file(), lab_name, recorded) as process:
        for _ in range(3):
            time.sleep(after_s)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130, said
        assert "Traceback" not in said
    assert left_of(lab_name) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGHUP, 129)])
def test_other_signals_during_up_leave_nothing(
    small_file: SmallFile, lab_name: str, number: signal.Signals, status: int
) -> None:
    """SIGTERM, and SIGHUP of a terminal that is closed, are taken as Ctrl-C is."""
    with going_up(small_file(), lab_name, starting) as process:
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == status, said
    assert left_of(lab_name) == []


@contextmanager
def holding(lab: Lab, connections: int) -> Iterator[subprocess.Popen[str]]:
    """`lab burst`, while it holds its connections."""
    with start_lab("burst", "--lab", lab.name, "-n", connections, "--hold", 60) as process:
        try:
            assert eventually(lambda: slots(lab, "natgw") == connections)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def no_slot_held(lab: Lab) -> bool:
    """Whether no connection holds a slot."""
    return slots(lab, "eni-private") == slots(lab, "natgw") == 0


def generators(lab: Lab) -> list[int]:
    """Generators that run."""
    return [each.pid for each in processes_in([lab.node("checkout").namespace])]


def test_ctrl_c_during_a_burst_closes_its_connections(small: Small) -> None:
    """An interrupted burst ends with status 130 and a sentence, and its connections hold no slots any more."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 300s")
    with holding(lab, 10) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130
        assert "interrupted; the connections are closed" in said
        assert "Traceback" not in said
    assert eventually(lambda: no_slot_held(lab))
    assert generators(lab) == []
    assert lab.burst(20).tcp.established == 20


def test_a_killed_burst_closes_its_connections(small: Small) -> None:
    """When the command is killed the generator notices, resets what it holds, and ends."""
    lab = small(timeouts="port_hold: 0s, idle_timeout: 300s")
    with holding(lab, 10) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert eventually(lambda: no_slot_held(lab))
    assert eventually(lambda: generators(lab) == [])
    assert lab.burst(20).tcp.established == 20


def test_down_during_a_burst(small: Small) -> None:
    """`down` ends a burst that is running: nothing is left, and the burst says in a sentence that it was stopped."""
    lab = small()
    with holding(lab, 10) as process:
        lab.down()
        assert left_of(lab.name) == []
        out, said = process.communicate(timeout=60)
        assert (process.returncode, out) == (4, "")
        assert f"lab {lab.name} was changed or taken down meanwhile: " in said
        assert said.count("\n") == 1


def test_a_plan_is_what_is_described(small_file: SmallFile, lab_name: str) -> None:
    """What `--dry-run` prints lists the namespaces that `up` then makes."""
    dry = run_lab("up", small_file(), "--name", lab_name, "--dry-run")
    assert left_of(lab_name) == []
    lab = Lab.up(small_file(), name=lab_name)
    assert dry.stdout == describe(lab.plan)
    made = {item.name for item in lab.plan.objects if isinstance(item, Namespace)}
    assert {path.name for path in NETNS.glob(f"lab-{lab_name}-*")} == made


def test_topology_beside_its_lab(lab_up: LabUp, small_file: SmallFile) -> None:
    """The lab keeps the topology with its limits as they were applied."""
    lab = lab_up(small_file(eni=200), scale=10)
    assert lab.topology.hyperplane_eni.connection_limit == 20
    assert Lab.find(lab.name).topology == lab.topology


def test_a_scaled_lab_that_is_brought_up_again(small_file: SmallFile, lab_name: str) -> None:
    """It keeps its limits and says so; the burst that `up` proposes reaches them."""
    up = "up", small_file(eni=200, nat=300), "--name", lab_name
    proposed = runnable(f"lab burst --lab {lab_name} -n 22 --connect-timeout 3")
    assert f"next: {proposed};" in run_lab(*up, "--scale", "10").stdout
    again = run_lab(*up)
    assert "is up already" in again.stdout
    assert "keeps its limits divided by 10; --scale 1 has them as the file has" in again.stderr


def test_a_damaged_lab_is_not_taken_for_whole(lab_up: LabUp, topologies: Path) -> None:
    """A lab whose server is stopped or has ended, or whose namespace is gone, says so and begins no burst."""
    lab = lab_up(topologies / "tiny.yaml")
    server = lab.node("cache").namespace
    (pid,) = (process.pid for process in processes_in([server]) if process.ours)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(
        UsageError,
        match=rf"has lost the server process in {server} \(stopped: {runnable(f'kill -CONT {pid}')}\)",
    ):
        lab.burst(1)
    os.kill(pid, signal.SIGCONT)
    assert lab.burst(1).tcp.established == 1
    end([server])
    with pytest.raises(UsageError, match=f"has lost the server process in {server}; mend it"):
        Lab.up(topologies / "tiny.yaml", name=lab.name)
    subprocess.run(["ip", "netns", "del", server], check=True)
    assert lab.lost() == [f"namespace {server}", f"the server process in {server}"]
    lab.down()
    assert left_of(lab.name) == []


def test_a_lab_is_mended(lab_up: LabUp, topologies: Path) -> None:
    """What is deleted, flushed or set down is made again, and connections are established as before."""
    lab = lab_up(topologies / "tiny.yaml")
    natgw, vpc, server = (lab.node(name).namespace for name in ("natgw", "vpc", "cache"))
    subprocess.run(("ip", "-n", vpc, "link", "set", "natgw", "down"), check=True)
    assert lab.burst(4, connect_timeout_s=1, anyway=True).lost == tuple(lab.lost())
    subprocess.run(("ip", "netns", "exec", natgw, "nft", "flush", "ruleset"), check=True)
    subprocess.run(("ip", "netns", "del", server), check=True)
    told: list[str] = []
    assert not Lab.up(topologies / "tiny.yaml", name=lab.name, repair=True, notice=told.append).changed
    assert any(line.startswith("mended: ") for line in told)
    assert (lab.lost(), lab.burst(10).tcp.established) == ([], 10)
