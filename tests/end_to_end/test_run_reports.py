"""A burst's record as a report, with the commands that people type: the page tells what the burst told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import os
from pathlib import Path
import shutil
import stat

from lab import runs
from lab.diagnosis.verdict import judge
from lab.kernel.invoker import runnable
from lab.lab import Lab
from lab.report.charts import charts_of
from tests.support.command import run_lab
from tests.support.machine import require_machine, require_no_sandbox
from tests.support.runs import ran

NOBODY = 65_534


def test_report_of_a_burst(small: Callable[..., Lab], tmp_path: Path) -> None:
    """What the kernel counted while a burst ran is in the figures, first SYNs apart from those sent again."""
    lab = small(nat=5)
    run = partial(run_lab, XDG_DATA_HOME=str(tmp_path))
    burst = run("burst", "--lab", lab.name, "-n", 8, "--connect-timeout", 1.4)
    assert burst.status == 0
    page = tmp_path / "page.html"
    ended = run("report", "last", "-o", page)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{page}: 1 run, ")
    (path,) = (tmp_path / "lab" / "runs").iterdir()
    charts = {each.kind: each for each in charts_of(runs.load(path))}
    first, again = charts["syn"].panels[0].lines
    assert [sum(value for _, value in line.points) for line in (first, again)] == [3, 3]
    assert first.points[0] == (0, 3)
    (held,) = charts["eni"].panels[0].lines
    assert held.highest == 8
    active, attempts, errors = charts["nat-gateway"].panels
    assert [active.highest, attempts.highest, errors.highest] == [5, 8, 3]
    text = page.read_text()
    assert judge(runs.load(path).result).headline in text
    assert runnable(f"lab burst --lab {lab.name} -n 8 --connect-timeout 1.4") in text


def test_belongs_to_who_asked(tmp_path: Path) -> None:
    """Under sudo the page is the user's, and made with the user's rights; nothing else is left in the home."""
    require_machine()
    require_no_sandbox()
    # pytest's own directories are root's alone.
    home = Path("/tmp") / f"{tmp_path.name}-{os.getpid()}"  # noqa: S108
    home.mkdir(mode=0o700)
    try:
        record = runs.save(ran(), home / "runs")
        for each in (home, *home.rglob("*")):
            os.chown(each, NOBODY, NOBODY)
        report = partial(run_lab, "report", record, SUDO_UID=str(NOBODY), SUDO_GID=str(NOBODY), HOME=str(home))
        page, before = home / "page.html", set(home.rglob("*"))
        ended = report("-o", page)
        assert (ended.status, ended.stderr) == (0, "")
        assert set(home.rglob("*")) - before == {page}
        assert (page.stat().st_uid, stat.S_IMODE(page.stat().st_mode) & 0o077) == (NOBODY, 0o044)
        refused = report("-o", tmp_path / "page.html")
        assert refused.status == 2
        assert refused.stderr.startswith(f"-o {tmp_path / 'page.html'}: cannot be written: Permission denied")
    finally:
        shutil.rmtree(home)
