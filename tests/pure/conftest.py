"""What several pure tests use."""

from __future__ import annotations

import re

import pytest

from lab.cli import main
from tests.support.cli import Ended, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as an ordinary user, without a sandbox, to its exit status; nothing of the machine is touched."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("lab.cli.commands.enter_sandbox", lambda _: None)
    monkeypatch.setattr("lab.kernel.invoker.labs_of_root", lambda: 0)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for variable in ("LAB_NAME", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["/usr/local/bin/lab", *arguments])
        capsys.readouterr()
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code
        else:
            status = 0
        # Help is coloured on some continuous integration machines, terminal or not.
        out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capsys.readouterr())
        return Ended(status if isinstance(status, int) else 0 if status is None else 1, out, err)

    return run
