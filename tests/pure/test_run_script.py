"""`./run` before it touches the machine: what it says to a wrong word, and to a user who is not root.

And what it leaves of the machine to the tests: the programs that it declares, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import shutil
import subprocess
import tempfile

import pytest

from lab.kernel import preflight

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = (CHECKOUT / "run", CHECKOUT / ".ci" / "run", CHECKOUT / "vm" / "run", CHECKOUT / "vm" / "tests")
VERBS = ("demo", "test", "trust", "vm", "setup")
PLACES_OF_PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
NOBODY = 65534

Completed = subprocess.CompletedProcess[str]


def _run(script: Path, *arguments: str, cwd: Path | None = None, user: int | None = None) -> Completed:
    variables = {name: value for name, value in os.environ.items() if name != "LAB_VENV"}
    return subprocess.run(
        (script, *arguments),
        cwd=cwd,
        user=user,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def copy() -> Iterator[Path]:
    """`run` where everyone may read it, under a name with a space; pytest's own folders are for one user only."""
    with tempfile.TemporaryDirectory(prefix="a checkout ") as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copy(CHECKOUT / "run", folder))


def _as_somebody(script: Path, *arguments: str, cwd: Path) -> Completed:
    return _run(script, *arguments, cwd=cwd, user=NOBODY if os.geteuid() == 0 else None)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_can_be_started(script: Path) -> None:
    """All scripts are executable and bash can parse them."""
    assert os.access(script, os.X_OK)
    subprocess.run(("bash", "-n", script), check=True)


@pytest.mark.parametrize("arguments", [(), ("help",), ("-h",), ("--help",)])
def test_usage_names_every_verb(arguments: tuple[str, ...]) -> None:
    """Without a verb, or asked for help, it shows each verb and changes nothing."""
    shown = _run(CHECKOUT / "run", *arguments)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(f"sudo ./run {verb}" in shown.stdout for verb in (*VERBS, "test quick"))


@pytest.mark.parametrize("arguments", [("dmeo",), ("",), ("demo", "twice"), ("setup", "--now")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """An unknown verb, or an argument that a verb does not take, is exit status 2 and the usage on standard error."""
    refused = _run(CHECKOUT / "run", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("usage: sudo ./run demo")


def test_releases_are_named() -> None:
    """A release that no virtual machine can be made of is refused with those that are known; --help needs no root."""
    help_shown, refused = _run(CHECKOUT / "run", "vm", "--help"), _run(CHECKOUT / "vm" / "run", "debian3")
    assert (help_shown.returncode, help_shown.stderr) == (0, "")
    assert (refused.returncode, refused.stdout) == (2 if os.geteuid() == 0 else 3, "")
    for release in ("debian12", "debian12-backports", "debian13", "ubuntu24.04"):
        assert release in help_shown.stdout
        assert release in refused.stderr or os.geteuid() != 0


@pytest.mark.parametrize("verb", ["trust", "vm"])
def test_needs_root(copy: Path, verb: str) -> None:
    """Somebody who is not root gets exit status 3 and the command to type."""
    refused = _as_somebody(copy, verb, cwd=copy.parent)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == f"run: this takes root: sudo ./run {verb}\n"


def test_needs_root_from_elsewhere(copy: Path) -> None:
    """The command to type works from where it was asked for, with spaces in the path and in the arguments."""
    refused = _as_somebody(copy, "trust", "-k", "a or b", cwd=Path("/"))
    folder = str(copy.parent).replace(" ", r"\ ")
    assert refused.stderr.endswith(rf": sudo {folder}/run trust -k a\ or\ b" + "\n")


def test_only_programs_that_are_declared_are_found() -> None:
    """Whatever else this machine has, neither the tests nor the lab find it: elsewhere it would be missing."""
    directory = Path(os.environ["PATH"])
    if not directory.name.startswith("lab-programs."):
        pytest.skip("not started by ./run test, which leaves only declared programs in PATH")
    declared = {path.name for path in directory.iterdir()}
    installed = {path.name for place in PLACES_OF_PROGRAMS for path in Path(place).glob("*")}
    assert {"bash", "ip", "nft"} <= declared
    assert "apt-get" in installed - declared
    assert [name for name in installed - declared if shutil.which(name) or preflight.find(name)] == []
