"""`lab watch` and `lab graph` of a lab that is up: on a terminal, in a pipe, while it changes, and when it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
import os
from pathlib import Path
import re
import signal
import subprocess

import pexpect
import pytest

from lab.kernel.netns import Namespaces
from lab.lab import Lab
from lab.observe.sampling import Sampler
from lab.watch import occupancies
from tests.support.command import LAB, environment, run_lab, start_lab
from tests.support.labs import Clients, eventually
from tests.support.machine import require_machine

Small = Callable[..., "Lab"]
ClientsOf = Callable[["Lab"], Clients]


@pytest.fixture(scope="module")
def tiny(topologies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The topology `tiny` with room for 2 in an ENI, up for these tests; they leave no connection open in it."""
    require_machine()
    path = tmp_path_factory.mktemp("watch") / "tiny.yaml"
    path.write_text((topologies / "tiny.yaml").read_text().replace("connection_limit: 20", "connection_limit: 2"))
    with Lab.up(path, name=f"test-{os.getpid()}-watch") as lab:
        yield lab


class Screen:
    """What a program shows on its terminal."""

    def __init__(self, child: pexpect.spawn) -> None:
        self.child = child
        self._said = ""

    def shows(self, pattern: str) -> bool:
        """Whether a whole frame comes that matches, in time."""
        return eventually(lambda: re.search(pattern, self._frame()) is not None)

    def _frame(self) -> str:
        with suppress(pexpect.TIMEOUT):
            self._said += self.child.read_nonblocking(1 << 16, timeout=0.1)
        self._said = _HOME.join(self._said.split(_HOME)[-2:])
        return _CODES.sub("", self._said.split(_HOME)[0])


_HOME = "\x1b[H"
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextmanager
def on_terminal(lab: Lab, lines: int = 24, columns: int = 80) -> Iterator[Screen]:
    """`lab watch` on a terminal of that size."""
    variables = environment(TERM="xterm-256color")
    child = pexpect.spawn(
        LAB, ["watch", "--lab", lab.name], dimensions=(lines, columns), env=variables, encoding="utf-8", timeout=30
    )
    try:
        yield Screen(child)
    finally:
        child.close(force=True)


@contextmanager
def in_pipe(lab: Lab, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`lab watch` in a pipe."""
    with start_lab("watch", "--lab", lab.name, "--interval", "0.1", *arguments) as child:
        try:
            yield child
        finally:
            child.kill()


def line_with(child: subprocess.Popen[str], words: str) -> str:
    """The next line that has these words; the end of the test's time if there is none."""
    assert child.stdout is not None
    return next(each for each in child.stdout if words in each)


def holds_nothing(lab: Lab) -> bool:
    """Whether the slots of what tests before have closed are free by now."""
    return not any(each.held for each in occupancies(lab.plan, lab.sample()).values())


def test_on_a_terminal(tiny: Lab, clients: ClientsOf) -> None:
    """It shows what is held now, FULL at the limit, follows the terminal's size, and Ctrl-C is no error."""
    with on_terminal(tiny) as screen:
        assert screen.shows(r"natgw +·+ 0% +0 of 30 ")
        client = clients(tiny)
        for _ in range(3):
            client.tcp()
        assert screen.shows(r"│ 2 FULL ")
        assert screen.shows(r"eni-private-a +■+ FULL +2 of 2 +0 +0 +\d")
        assert screen.shows(r"eni-private-b +■+·+ 50% +1 of 2 +0 +0 +\d")
        screen.child.setwinsize(12, 50)
        assert screen.shows(r"eni-private-a +■+ FULL +2 of 2 +0 *\r?\n")
        screen.child.sendintr()
        screen.child.expect(re.escape("\x1b[?1049l"))
        screen.child.expect(pexpect.EOF)
        screen.child.wait()
        assert (screen.child.exitstatus, screen.child.signalstatus) == (0, None)


def test_in_a_pipe(tiny: Lab, clients: ClientsOf) -> None:
    """Each line has a moment, the rates, and what every node holds; SIGINT is no error."""
    with in_pipe(tiny) as child:
        none = "eni-private-a=0/2 eni-private-b=0/2 natgw=0/30\n"
        first = line_with(child, f"new/s=0 refused/s=0 {none}")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", first.split()[0])
        client = clients(tiny)
        for _ in range(3):
            client.tcp()
        assert child.stdout is not None
        # The ENI has a slot before the NAT gateway has: the rate may stand in a line before the one with all of them.
        lines = []
        for line in child.stdout:
            lines.append(line)
            if line.endswith("eni-private-a=2/2 eni-private-b=1/2 natgw=3/30 FULL=eni-private-a\n"):
                break
        assert any(" new/s=0 " not in line for line in chain(lines, child.stdout))
        client.tcp()
        assert "refused/s=0 " in line_with(child, "FULL=eni-private-a,eni-private-b")
        with pytest.raises(TimeoutError):
            client.tcp(timeout_s=0.2)
        assert any("refused/s=0 " not in line for line in child.stdout)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 0


def test_reader_that_has_seen_enough(tiny: Lab) -> None:
    """`| head -1` ends it, without a word and with status 0."""
    script = f"set -o pipefail; {LAB} watch --lab {tiny.name} --interval 0.1 | head -n1"
    done = subprocess.run(
        ("bash", "-c", script), capture_output=True, text=True, timeout=60, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_drawing_of_a_lab(tiny: Lab, clients: ClientsOf) -> None:
    """`lab graph` draws a lab that is up with what its limiters hold; of an unknown lab it says which there are."""
    assert eventually(lambda: holds_nothing(tiny))
    clients(tiny).tcp()
    svg = run_lab("graph", "--lab", tiny.name, "--format", "svg")
    assert (svg.status, svg.stderr) == (0, "")
    assert svg.stdout.count(">1 of 2</text>") == 1
    unknown = run_lab("graph", "--lab", "nowhere")
    assert unknown.status == 2
    assert "no lab 'nowhere'; known: " in unknown.stderr


def test_lab_that_changes_and_goes(small: Small, small_file: Callable[..., Path]) -> None:
    """What `up` changes is picked up; when the lab is taken down, watching ends with a sentence and status 0."""
    lab = small(eips=1)
    with in_pipe(lab) as child:
        line_with(child, "natgw=0/20")
        assert run_lab("up", small_file(eips=2), "--name", lab.name).status == 0
        line_with(child, "natgw=0/40")
        lab.down()
        assert child.wait(timeout=30) == 0
        assert child.stderr is not None
        assert child.stderr.read() == f"lab {lab.name} has been taken down\n"


def test_slots_only(tiny: Lab, clients: ClientsOf) -> None:
    """A sample of slots only has the counters and the slots that a whole one has, and counts no packets."""
    assert eventually(lambda: holds_nothing(tiny))
    clients(tiny).tcp()
    whole = tiny.sample()
    with Namespaces() as namespaces:
        sampler = Sampler(tiny.plan.nat_nodes, slots_only=True)
        part = sampler.take(namespaces.call)
    assert set(part.nodes) == set(whole.nodes)
    for name, node in part.nodes.items():
        assert (node.held, node.active) == (whole.nodes[name].held, whole.nodes[name].active)
        assert node.counters.items() <= whole.nodes[name].counters.items()
        assert node.inner.packets_in == 0
    assert whole.nodes["natgw"].inner.packets_in > 0
