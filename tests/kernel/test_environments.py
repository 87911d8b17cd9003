"""Execution environments with real processes: what they run, see and may do, how they freeze, that nothing is left.

Code is in the test's own directory, which only root may enter, below /tmp, of which an environment has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
from typing import Any

import pytest

from tests.support.labs import eventually
from tests.support.machine import ETC_NETNS, require_machine, require_no_sandbox
from tests.support.rights import rights_of
from tests.support.throwaway import Throwaway
from traffic.environments.result import Failure, InvokeResult
from traffic.environments.spec import EndSpec, Environment, FleetProgramSpec, Handler, InvokeSpec, Isolation
from traffic.spec import Arrivals, Spec

REPOSITORY = Path(__file__).parents[2]
UNIFIED = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
HANDLERS = """
import json, os, resource, subprocess, sys, threading, time

def ok(event, context):
    return {"got": event, "left_ms": context.get_remaining_time_in_millis()}

def error(event, context):
    raise ValueError("no such order")

def slow(event, context):
    time.sleep(60)

def leave(event, context):
    print("last words")
    os._exit(3)

def flood(event, context):
    for _ in range(20_000):
        print("x" * 100)

def large(event, context):
    return "x" * 7_000_000

def look(event, context):
    return {
        "variables": dict(os.environ), "run": os.listdir("/run"), "tmp": os.statvfs("/tmp").f_blocks,
        "resolv.conf": open("/etc/resolv.conf").read(), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "beside": os.listdir(event["beside"]), "session": os.getsid(0) == os.getpgid(0) == os.getpid(),
        "mode": os.stat("/tmp").st_mode & 0o7777,
    }

def beat(event, context):
    def go_on():
        for number in range(100_000):
            with open("beats/next", "w") as file:
                file.write(str(number))
            os.replace("beats/next", "beats/now")
            time.sleep(0.005)
    threading.Thread(target=go_on, daemon=True).start()

def daemon(event, context):
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
"""
BOOTSTRAP = r"""#!/bin/sh
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while :; do
    event=$(curl -sS -D /tmp/headers "$api/next")
    id=$(tr -d '\r' </tmp/headers | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
    curl -sS -o /dev/null -d "{\"got\": $event}" "$api/$id/response"
done
"""


class Running:
    """A supervisor in a namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def children(self) -> list[int]:
        """The first processes of its environments."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says, as it says it."""
        assert self.process.stdout is not None
        return (json.loads(line) for line in self.process.stdout)

    def finished(self) -> InvokeResult:
        """The result."""
        for event in self.events():
            if event["event"] == "finished":
                return InvokeResult.from_json(event["result"])
            assert event["event"] == "progress", event
        raise AssertionError("it ended without a result")

    def close(self) -> int:
        """End it in order; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.write("close\n")
        self.process.stdin.close()
        return self.process.wait(30)


class Site:
    """A namespace, code, and users whom nobody else has."""

    def __init__(self, namespaces: Throwaway, directory: Path) -> None:
        self._namespaces = namespaces
        self.namespace = namespaces.new()
        self.code = directory / "code"
        (self.code / "beats").mkdir(parents=True)
        self.code.chmod(0o755)
        (self.code / "beats").chmod(0o777)
        self.write("app.py", HANDLERS)
        first = 1_000_000_000 + os.getpid() * 100  # pid_max is 4,194,304 at most
        self.environments = tuple(Environment(first + number, "eni-a", None) for number in range(2))
        self.isolation = Isolation(self.namespace, ("/run", str(directory / "hidden")))

    def write(self, name: str, text: str) -> Path:
        """A file of the function."""
        path = self.code / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def spec(self, handler: str, invocations: int = 3, *command: str) -> InvokeSpec:
        """Invocations of one of the handlers."""
        program = command or (sys.executable, "-m", "awslambdaric", handler)
        return InvokeSpec(
            "checkout",
            Handler(program, str(self.code), handler, "python3.13", timeout_s=20.0, init_timeout_s=60.0),
            self.isolation,
            self.environments,
            invocations,
            event='{"order": 7}',
        )

    @contextmanager
    def start(self, verb: str, spec: Spec) -> Iterator[Running]:
        """A supervisor, which is killed at the latest when the block ends, and then what it has left."""
        process = self._namespaces[self.namespace].run(
            subprocess.Popen,
            (sys.executable, "-m", "traffic", verb, "-", self.namespace),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdin is not None
            process.stdin.write(spec.to_json() + "\n")
            process.stdin.flush()
            try:
                yield Running(process)
            finally:
                process.kill()
                with suppress(BrokenPipeError):
                    process.stdin.close()
                self.end()

    def end(self) -> None:
        """What somebody else does who finds environments without a supervisor."""
        spec = EndSpec(self.isolation, self.environments)
        subprocess.run((sys.executable, "-m", "traffic", "end", spec.to_json()), cwd=REPOSITORY, check=True, timeout=60)

    def run(self, spec: InvokeSpec) -> InvokeResult:
        """The result, after everything has been closed."""
        with self.start("invoke", spec) as running:
            result = running.finished()
            assert running.close() == 0
        assert self.left() == []
        return result

    def left(self) -> list[int]:
        """Processes of the users."""
        return [pid for pid in _pids() if _uid(pid) in {each.uid for each in self.environments}]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _uid(pid: int) -> int | None:
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        is_zombie = "\nState:\tZ" in status
        return None if is_zombie else int(status.partition("\nUid:\t")[2].split()[0])
    return None


@pytest.fixture
def site(namespaces: Throwaway) -> Iterator[Site]:
    """Where environments are."""
    require_no_sandbox()
    with TemporaryDirectory() as directory:
        (Path(directory) / "hidden").mkdir()
        (Path(directory) / "hidden" / "secret").touch()
        yield Site(namespaces, Path(directory))


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of the test's own."""
    root = next((each for each in UNIFIED if (each / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("no cgroup v2 file system is mounted")
    directory = root / f"labtest-{os.getpid()}"
    directory.mkdir()
    yield directory
    for each in directory.glob("env-*"):
        each.rmdir()
    directory.rmdir()


# ── Outcomes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_answers(site: Site) -> None:
    """Each invocation is answered; environments are used again."""
    result = site.run(site.spec("app.ok", 20))
    assert (result.ok, result.errors, result.cold_starts, result.warm) == (20, (), 2, 18)
    assert json.loads(result.answer or "")["got"] == {"order": 7}
    assert 0 < json.loads(result.answer or "")["left_ms"] <= 20_000
    assert result.duration is not None
    assert result.init is not None
    assert (result.duration.count, result.init.count) == (20, 2)
    assert sum(each.invocations for each in result.environments) == 20


@pytest.mark.parametrize(
    ("handler", "error", "cold_starts"),
    [
        ("app.error", Failure("ValueError", "no such order"), 2),
        ("app.leave", Failure("Runtime.ExitError", "Runtime exited with error: exit status 3", ("last words",)), 3),
        ("app.large", Failure("Function.ResponseSizeTooLarge"), None),
    ],
)
def test_errors_of_invocations(site: Site, handler: str, error: Failure, cold_starts: int | None) -> None:
    """What the handler does is an error of each invocation, with its type and message."""
    result = site.run(site.spec(handler))
    (found,) = result.errors
    assert (result.ok, found.count, found.type) == (0, 3, error.type)
    assert found.example.message.startswith(error.message)
    assert not error.trace or found.example.trace == error.trace
    assert cold_starts in (None, result.cold_starts)


def test_a_module_that_is_not_there(site: Site) -> None:
    """A thousand invocations of a function that never starts end with the few starts that show it."""
    result = site.run(site.spec("missing.handler", 1_000))
    (found,) = result.errors
    assert (found.type, found.count) == ("Runtime.ImportModuleError", 1_000)
    assert "missing" in found.example.message
    assert result.cold_starts <= 4


def test_a_time_out(site: Site) -> None:
    """The environment is killed, and the next invocation starts cold in its place."""
    spec = replace(site.spec("app.slow", 2), environments=site.environments[:1])
    result = site.run(replace(spec, handler=replace(spec.handler, timeout_s=0.5)))
    assert (result.timed_out, result.ok, result.errors) == (2, 0, ())
    assert result.environments[0].starts == 2


def test_a_program_that_never_asks(site: Site) -> None:
    """Its initialization times out."""
    spec = site.spec("none", 1, "sleep", "1000")
    result = site.run(replace(spec, handler=replace(spec.handler, init_timeout_s=0.2)))
    assert [each.type for each in result.errors] == ["Sandbox.Timedout"]


def test_output_without_end(site: Site) -> None:
    """What a handler writes fills nothing and stalls nobody; what is not kept is counted."""
    result = site.run(site.spec("app.flood"))
    assert result.ok == 3
    assert result.output.lines == 60_000
    assert result.output.lines - 100 < result.output.dropped < result.output.lines
    assert result.output.last.endswith("xxx\n")


def test_a_shell_script_is_a_runtime_client(site: Site) -> None:
    """POSIX sh with curl, a new connection for each request."""
    require_machine("curl")
    site.write("bootstrap", BOOTSTRAP)
    result = site.run(site.spec("any", 6, "./bootstrap"))
    assert (result.ok, result.errors, result.answer) == (6, (), '{"got": {"order": 7}}')


def test_a_node_handler(site: Site) -> None:
    """AWS's runtime client for Node.js, where it is installed."""
    node = shutil.which("node")
    client = Path("/usr/lib/node_modules/aws-lambda-ric/bin/index.mjs")
    if node is None or not client.exists():
        pytest.skip("aws-lambda-ric is not installed: npm install -g aws-lambda-ric")
    site.write("index.js", "exports.handler = async (event) => ({got: event});\n")
    result = site.run(site.spec("index.handler", 3, node, str(client), "index.handler"))
    assert (result.ok, result.answer) == (3, '{"got":{"order":7}}')


# ── What an environment sees, and who it is ─────────────────────────────────────────────────────────────────


def test_what_it_sees(site: Site) -> None:
    """Hidden directories are empty, /tmp is its own, the names of its network are the namespace's."""
    own = ETC_NETNS / site.namespace
    own.mkdir(parents=True)
    try:
        (own / "resolv.conf").write_text("nameserver 100.64.0.2\n", encoding="utf-8")
        spec = site.spec("app.look", 1)
        told = replace(spec.handler, variables={"TABLE": "orders", "TZ": "Europe/Berlin"})
        beside = json.dumps({"beside": str(site.code.parent)})
        seen = json.loads(site.run(replace(spec, event=beside, handler=told)).answer or "")
    finally:
        shutil.rmtree(own)
    assert (seen["run"], seen["resolv.conf"], seen["beside"]) == ([], "nameserver 100.64.0.2\n", ["code"])
    assert (seen["mode"], seen["tmp"] * 4_096, seen["session"]) == (0o1777, 512 << 20, True)
    assert seen["files"] == [1_024, 1_024]
    variables = seen["variables"]
    assert variables["AWS_LAMBDA_RUNTIME_API"].startswith("127.1.0.1:90")
    assert variables["_HANDLER"] == "app.look"
    assert variables["LAMBDA_TASK_ROOT"] == str(site.code)
    assert (variables["TABLE"], variables["TZ"]) == ("orders", "Europe/Berlin")
    assert not {"HOME", "AWS_ACCESS_KEY_ID", "PYTHONPATH"} & variables.keys()


def test_what_it_may_do(site: Site) -> None:
    """It has its user's number, no capability, no way to get one, and as many descriptors as the spec says."""
    with site.start("invoke", site.spec("app.ok", 8)) as running:
        running.finished()
        uids = set()
        for pid in running.children:
            rights = rights_of(pid)
            uids.add(rights.user[0])
            assert rights.user == rights.group == (rights.user[0],) * 4
            assert (rights.groups, rights.no_new_privileges) == ((), True)
            assert not rights.permitted | rights.effective | rights.inheritable | rights.bounding | rights.ambient
            limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
            assert "Max open files            1024                 1024" in limits
        assert uids == {each.uid for each in site.environments}
        assert running.close() == 0


def test_code_that_it_may_not_read(site: Site) -> None:
    """One error, before anything is started, which names the file and what to do."""
    secret = site.write("secret.py", "")
    secret.chmod(0o600)
    with site.start("invoke", site.spec("app.ok")) as running:
        (event,) = running.events()
        assert running.process.wait(30) == 1
    assert event["event"] == "error"
    assert str(secret) in event["message"]
    assert f"chmod -R o+rX {site.code}" in event["message"]


def test_a_program_that_is_not_there(site: Site) -> None:
    """The same."""
    with site.start("invoke", site.spec("any", 1, "no-such-program")) as running:
        (event,) = running.events()
    assert "finds no program no-such-program" in event["message"]


# ── Freezing ────────────────────────────────────────────────────────────────────────────────────────────────


def _beat(site: Site) -> str:
    with suppress(FileNotFoundError):
        return (site.code / "beats" / "now").read_text(encoding="ascii")
    return ""


def _stands_still(claim: Callable[[], str]) -> bool:
    before = claim()
    time.sleep(0.3)  # sixty beats
    return claim() == before


def test_a_frozen_environment_does_nothing(site: Site) -> None:
    """A thread that a handler has left stops when its environment waits for an invocation."""
    with site.start("invoke", site.spec("app.beat", 1)) as running:
        running.finished()
        states = [Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in running.children]
        assert ["State:\tT (stopped)" in each for each in states] == [True]
        assert _stands_still(lambda: _beat(site))
        assert running.close() == 0


def test_a_cgroup_freezes(site: Site, cgroup: Path) -> None:
    """The same by a cgroup, which is gone with the environment."""
    spec = site.spec("app.beat", 1)
    site.isolation = replace(site.isolation, cgroup=str(cgroup))
    with site.start("invoke", replace(spec, isolation=site.isolation)) as running:
        running.finished()
        assert eventually(lambda: "frozen 1" in (cgroup / "env-0" / "cgroup.events").read_text(encoding="ascii"))
        assert _stands_still(lambda: _beat(site))
        assert running.close() == 0
    assert list(cgroup.glob("env-*")) == []
    assert site.left() == []


def test_without_freezing_it_goes_on(site: Site) -> None:
    """A thread that a handler has left goes on while its environment waits."""
    with site.start("invoke", replace(site.spec("app.beat", 1), freeze=False)) as running:
        running.finished()
        before = _beat(site)
        assert eventually(lambda: _beat(site) != before)
        assert running.close() == 0


def test_a_frozen_environment_thaws(site: Site) -> None:
    """With its next invocation, as often as there is one."""
    spec = replace(site.spec("app.ok", 10), environments=site.environments[:1], arrivals=Arrivals(20.0))
    result = site.run(spec)
    assert (result.ok, result.cold_starts) == (10, 1)


# ── Nothing is left ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["close", "eof", "terminate"])
def test_nothing_is_left(site: Site, ending: str) -> None:
    """Also what has left the session of its environment."""
    with site.start("invoke", site.spec("app.daemon", 2)) as running:
        running.finished()
        assert len(site.left()) >= 3
        if ending == "close":
            assert running.close() == 0
        elif ending == "terminate":
            running.process.terminate()
        elif running.process.stdin is not None:
            running.process.stdin.close()
        assert running.process.wait(30) == 0
        assert eventually(lambda: not site.left())


def test_nothing_is_left_of_one_user(site: Site) -> None:
    """Where environments have no users of their own, a process that has left its group is ended as well."""
    environments = tuple(replace(each, uid=0) for each in site.environments)
    site.write("app.py", HANDLERS.replace("1000", marker := str(7_000_000 + os.getpid())))
    with site.start("invoke", replace(site.spec("app.daemon", 2), environments=environments)) as running:
        running.finished()
        command = f"sleep\0{marker}\0"
        assert eventually(lambda: command in _command_lines())
        assert running.close() == 0
        assert command not in _command_lines()


def _command_lines() -> set[str]:
    found = set()
    for pid in _pids():
        with suppress(OSError):
            found.add(Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace"))
    return found


def test_the_end_of_input_aborts(site: Site) -> None:
    """At any time, not only when all is finished."""
    with site.start("invoke", site.spec("app.slow", 2)) as running:
        assert eventually(lambda: len(site.left()) == 2)
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert running.process.wait(30) == 0
        assert eventually(lambda: not site.left())


def test_nothing_outlives_a_supervisor_that_is_killed(site: Site) -> None:
    """Environments' first processes die with it; what they have started, `end` ends."""
    with site.start("invoke", site.spec("app.daemon", 2)) as running:
        running.finished()
        first = running.children
        running.process.kill()
        assert eventually(lambda: not set(first) & set(site.left()))
        site.end()
        assert eventually(lambda: not site.left())


def test_two_at_once(site: Site) -> None:
    """Two supervisors in one namespace have a port each."""
    one, other = (replace(site.spec("app.ok", 5), environments=(each,)) for each in site.environments)
    with site.start("invoke", one) as first, site.start("invoke", other) as second:
        assert (first.finished().ok, second.finished().ok) == (5, 5)
        assert (first.close(), second.close()) == (0, 0)


# ── Programs ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_in_all_environments(site: Site) -> None:
    """It runs in each of them; what it writes is told by line, and how it ends."""
    script = 'id -u; echo "$TABLE" >&2; test "$(id -u)" -eq "$1" || kill -9 $$; exit 7'
    command = ("sh", "-c", script, "sh", str(site.environments[0].uid))
    spec = FleetProgramSpec(command, str(site.code), site.isolation, site.environments, {"TABLE": "orders"})
    with site.start("fleet", spec) as running:
        events = list(running.events())
        assert running.process.wait(30) == 0
    assert events[-1] == {"event": "finished"}
    lines = {(each["environment"], each["stream"], each["line"]) for each in events if each["event"] == "output"}
    numbered = list(enumerate(site.environments))
    assert lines == {(number, "stdout", str(each.uid)) for number, each in numbered} | {
        (number, "stderr", "orders") for number, _ in numbered
    }
    ends = {each["environment"]: (each["status"], each["signal"]) for each in events if each["event"] == "ended"}
    assert ends == {0: (7, None), 1: (0, 9)}


def test_the_end_of_input_ends_programs(site: Site) -> None:
    """All of them, with what they have started."""
    spec = FleetProgramSpec(("sh", "-c", "setsid sleep 1000 & sleep 1000"), "/", site.isolation, site.environments)
    with site.start("fleet", replace(spec, directory=str(site.code))) as running:
        assert eventually(lambda: len(site.left()) >= 4)
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert running.process.wait(30) == 0
        assert eventually(lambda: not site.left())
