"""Handlers of a user's own in execution environments: real runtime clients, real limits."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil
import signal
from textwrap import dedent

import pytest

from lab.diagnosis.invocations import judge_invocations
from lab.errors import PreflightError, UsageError
from lab.invoke.result import InvokeResult
from lab.lab import Lab
from tests.support.command import run_lab, start_lab
from tests.support.labs import eventually

pytest.importorskip("awslambdaric")

HANDLERS = Path(__file__).parents[2] / "examples" / "handlers"
Small = Callable[..., Lab]


@pytest.fixture
def code(tmp_path: Path) -> Callable[[str], Path]:
    """A directory with an app.py of this text."""

    def write(text: str) -> Path:
        directory = tmp_path / "code"
        directory.mkdir(exist_ok=True)
        (directory / "app.py").write_text(dedent(text), encoding="utf-8")
        return directory

    return write


KEEPS_THEM = """
    import http.client
    opened = []

    def handler(event, context):
        opened.append(http.client.HTTPConnection("cache.example.com", 443, timeout=0.5))
        opened[-1].request("GET", "/")
        return opened[-1].getresponse().status
"""


def test_a_client_made_in_the_handler_fills_the_eni(small: Small, code: Callable[[str], Path]) -> None:
    """Exactly as many invocations succeed as the ENI has room for; the code's own exception tells of the others."""
    lab = small(eni=20, nat=50)
    result = lab.invoke(30, code=str(code(KEEPS_THEM)), handler="app.handler", environments=1)
    outcomes, seen = result.outcomes, result.connections
    assert (outcomes.ok, [(error.type, error.count) for error in outcomes.errors]) == (20, [("TimeoutError", 10)])
    assert (seen.opened, seen.per_invocation, seen.held) == (30, 1.0, 20)
    assert result.kernel.refused_connections == 10
    verdict = judge_invocations(result)
    assert verdict.cause == "limit"
    assert verdict.headline.startswith("Hyperplane ENI connection limit reached")


def test_each_environment_has_an_address_on_its_eni(lab_up: Callable[..., Lab]) -> None:
    """Environments take turns at the function's ENIs, each with its own source address, and use connections again."""
    lab = lab_up(Path(__file__).parents[2] / "topologies" / "tiny.yaml")
    result = lab.invoke(40, code=str(HANDLERS / "client_outside"), handler="app.handler", environments=4, rate_per_s=50)
    used = result.connections.environments
    assert result.outcomes.ok == 40
    assert [each.opened for each in used] == [1] * len(used)
    assert len({each.address for each in used}) == len(used)
    assert {each.eni for each in used} <= {"eni-private-a", "eni-private-b"}
    held = {limit.node: limit.peak for limit in result.kernel.limits if limit.kind == "hyperplane_eni"}
    assert held == {eni: sum(each.eni == eni for each in used) for eni in held}
    assert judge_invocations(result).cause == "no_limit"


IMPORTS_NOTHING = "import there_is_no_such_module\n"


def test_code_that_does_not_start_is_told_once(small: Small, code: Callable[[str], Path]) -> None:
    """An import error ends the run soon, with the code's own words; no limit is blamed."""
    result = small().invoke(200, code=str(code(IMPORTS_NOTHING)), handler="app.handler", environments=20)
    (error,) = result.outcomes.errors
    assert (error.type, error.count) == ("Runtime.ImportModuleError", 200)
    assert "there_is_no_such_module" in error.example.message
    assert result.outcomes.cold_starts < 25
    assert judge_invocations(result).cause == "init_error"


def paused(lab: Lab, name: str, *, freeze: bool = True) -> InvokeResult:
    """Two invocations of one environment, with a pause between them that is longer than the idle time-out."""
    return lab.invoke(
        2,
        code=str(HANDLERS / name),
        handler="app.handler",
        environments=1,
        rate_per_s=0.25,
        freeze=freeze,
        variables=("HEALTH_CHECK_EVERY_S=0.5",),
    )


def test_a_pause_beyond_the_idle_timeout(small: Small) -> None:
    """The connection that a client has kept is gone at the NAT node, and the next invocation meets its reset."""
    result = paused(small(timeouts="idle_timeout: 2s"), "client_outside")
    assert (result.outcomes.ok, [error.type for error in result.outcomes.errors]) == (1, ["ConnectionResetError"])
    assert (result.kernel.reset, result.kernel.refused_connections) == (1, 0)
    assert judge_invocations(result).cause == "idle_timeout"


def test_a_frozen_environment_sends_no_keep_alive(small: Small) -> None:
    """A thread of the function's that keeps its connection alive does so while the environment runs, not frozen."""
    lab = small(timeouts="idle_timeout: 2s")
    runs_on = paused(lab, "health_check", freeze=False)
    assert (runs_on.outcomes.ok, runs_on.kernel.reset) == (2, 0)
    assert judge_invocations(runs_on).cause == "no_limit"
    assert paused(lab, "health_check").kernel.reset == 1


@pytest.mark.parametrize("name", ["client_inside", "client_outside", "health_check", "bootstrap_in_shell"])
def test_examples(small: Small, name: str) -> None:
    """Each example answers an invocation."""
    handler = "" if name == "bootstrap_in_shell" else "app.handler"
    result = small().invoke(1, code=str(HANDLERS / name), handler=handler)
    assert (result.outcomes.ok, result.outcomes.errors) == (1, ())
    assert result.outcomes.answer is not None
    assert json.loads(result.outcomes.answer)["status"] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_nothing_is_left(small: Small, code: Callable[[str], Path], number: signal.Signals) -> None:
    """However `lab invoke` ends, its environments end with it; what SIGKILL leaves of its routes goes with the lab."""
    lab = small()
    sleeps = code("import time\n\ndef handler(event, context):\n    time.sleep(60)\n")
    words = ("--code", sleeps, "--handler", "app.handler", "--timeout", 100, "--environments", 3)
    with start_lab("invoke", "-n", 3, "--lab", lab.name, *words) as process:
        assert eventually(lambda: len(environments_in(lab)) == 3)
        os.kill(process.pid, number)
        process.communicate()
    assert eventually(lambda: not environments_in(lab))
    assert lab.invoke(1, code=str(HANDLERS / "client_outside"), handler="app.handler").outcomes.ok == 1


def environments_in(lab: Lab) -> list[int]:
    """Processes of users that execution environments have."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid >= 1_900_000_000 and str((path / "ns" / "net").readlink()) == _namespace_of(lab):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _namespace_of(lab: Lab) -> str:
    return f"net:[{Path('/run/netns', lab.node('checkout').namespace).stat().st_ino}]"


def test_what_cannot_be_run_is_refused_in_words(small: Small, tmp_path: Path) -> None:
    """No such directory, no such handler, a payload that is no JSON, a runtime that is not there: before any start."""
    lab = small()
    with pytest.raises(UsageError, match="no such directory"):
        lab.invoke(1, code=str(tmp_path / "nowhere"), handler="app.handler")
    with pytest.raises(UsageError, match=r"other\.py is not there"):
        lab.invoke(1, code=str(HANDLERS / "client_inside"), handler="other.handler")
    (tmp_path / "event.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="is not JSON"):
        lab.invoke(1, code=str(HANDLERS / "client_inside"), handler="app.handler", event=str(tmp_path / "event.json"))
    node = HANDLERS / "client_in_node"
    with pytest.raises((PreflightError, UsageError), match="node" if shutil.which("node") is None else "npm install"):
        lab.invoke(1, code=str(node), handler="app.handler")


def test_the_command_line(small: Small) -> None:
    """A document with the verdict on standard output, alone."""
    lab = small()
    words = ("--code", HANDLERS / "client_outside", "--handler", "app.handler", "--json", "-")
    done = run_lab("invoke", "checkout", "-n", 5, "--lab", lab.name, *words)
    document = json.loads(done.stdout)
    assert (done.status, document["schema"], document["outcomes"]["ok"]) == (0, 1, 5)
    assert document["verdict"]["cause"] == "no_limit"


def test_whatever_goes_on_in_a_lab_can_be_observed(small: Small) -> None:
    """By the kernel alone: what was held at most, refused, and why; nothing is known before the block has ended."""
    lab = small(eni=5)
    with lab.observe() as observed:
        lab.burst(7, connect_timeout_s=1.0)
        with pytest.raises(UsageError, match="when it has ended"):
            _ = observed.seen
    assert observed.seen.refused_connections == 2
    assert max(limit.peak for limit in observed.seen.limits) == 5
    assert observed.verdict.cause == "limit"
