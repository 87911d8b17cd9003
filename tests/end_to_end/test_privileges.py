"""What the processes of a lab may still do, and what they load once they may do less."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
import os
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.support.command import run_lab
from tests.support.labs import eventually
from tests.support.machine import left_of, require_machine, require_other_users
from tests.trust.privilege import burst_of, looks, with_secrets

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "two_functions.yaml"
BOTH = ("--function", "checkout", "--function", "reports")

AT_REST = ["collector", "resolver", "server"]
TELLS_OF_IMPORTS = """
import os, sys
def hear(event, values):
    if event == "import" and os.geteuid() and values[0] not in sys.modules:
        os.write(2, f"loads {values[0]}\\n".encode())
sys.addaudithook(hear)
"""
"""Python runs a module of this name at its start: what is imported without root's rights is written to the log."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all of them, of a caller with secrets."""
    require_machine()
    require_other_users()
    with with_secrets(), Lab.up(TOPOLOGY, name=f"test-{os.getpid()}-rights", scale=100) as made:
        yield made


def test_a_lab_that_is_up(lab: Lab) -> None:
    """Services are nobody's and may nothing; the collector may read other namespaces; no secret is passed on."""
    # The collector is not waited for.
    assert eventually(lambda: not any(look.differences for look in looks(lab)))
    found = looks(lab)

    assert sorted(look.kind for look in found) == AT_REST
    assert [look.differences for look in found] == [()] * len(AT_REST)


@pytest.mark.parametrize(
    ("burst", "kinds"),
    [
        (("packet", *BOTH), ["packet"]),
        (("scapy",), ["scapy"]),
        (("socket",), ["socket", "socket worker"]),
        (("socket", *BOTH), ["socket", "socket worker of several functions"]),
    ],
)
def test_a_burst(lab: Lab, burst: tuple[str, ...], kinds: list[str]) -> None:
    """A generator keeps what its engine needs for further connections, and nothing else."""
    with with_secrets():
        found = burst_of(lab, *burst)

    assert sorted(look.kind for look in found) == sorted((*AT_REST, *kinds))
    assert [look.differences for look in found] == [()] * len(found)


def test_nothing_is_loaded_afterwards(tmp_path: Path) -> None:
    """Once root is given up no module is loaded: Python may be where only root can reach it."""
    require_machine()
    (tmp_path / "sitecustomize.py").write_text(TELLS_OF_IMPORTS)
    name = f"test-{os.getpid()}-loads"
    logs, said = Path("/run/lab", name, "log"), list[str]()
    assert run_lab("up", TOPOLOGY, "--name", name, "--scale", 100, PYTHONPATH=str(tmp_path)).status == 0
    try:
        for options in (
            ("--engine", "packet", "--requests-per-connection", 2, *BOTH),
            ("--engine", "packet", "--protocol", "udp"),
            ("--engine", "socket", "--requests-per-connection", 2, *BOTH),
            ("--engine", "socket", "--tls"),
            ("--engine", "scapy"),
        ):
            fired = run_lab(
                "burst", "--lab", name, "-n", 20, "--connect-timeout", 2, *options, PYTHONPATH=str(tmp_path)
            )
            assert fired.status == 0, fired.stderr
            said += (logs / "burst.log").read_text(encoding="utf-8").splitlines()
        said += [line for log in logs.glob("lab-*") for line in log.read_text(encoding="utf-8").splitlines()]
    finally:
        run_lab("down", "--lab", name)

    assert said == []


def test_the_labs_user_is_found(lab_name: str) -> None:
    """Root without CAP_SYS_PTRACE, as in a container, sees that the processes are there."""
    require_other_users()
    require_machine("setpriv")
    contained = partial(run_lab, through=("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"))
    assert contained("up", TOPOLOGY, "--name", lab_name).status == 0
    assert [each["lost"] for each in contained("list", "--json").json if each["lab"] == lab_name] == [[]]
    burst = contained("burst", "--lab", lab_name, "-n", 4, "--no-record", "--json", "-")
    assert burst.json["tcp"]["established"] == 4
    assert contained("down", "--lab", lab_name).status == 0
    assert left_of(lab_name) == []
