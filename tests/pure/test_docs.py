"""What docs say of commands and of names is what the program has."""

from __future__ import annotations

from pathlib import Path
import re
import shlex
from typing import Any, get_args

import pytest
import typer

from lab.cli import app
from lab.metrics import METRICS
from lab.runs.document import FILES
from lab.trace import Outcome

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
COMMAND = re.compile(rf"^ {{4}}(?:sudo )?lab (?P<words>(?:{'|'.join(COMMANDS)})\b.*)$", re.MULTILINE)
ASIDE = re.compile(r" -- .*|\s{2,}(?![-\w./]*$).*|\s#.*|\s[|>;].*")
"""What stands behind the lab's own words: another program's, a remark, or what the output goes to."""


def commands() -> list[tuple[str, str]]:
    """Every command in an indented block: the page, and the words behind `lab`."""
    pages = ((page.name, page.read_text()) for page in sorted(DOCS.glob("*.md")))
    return [(page, ASIDE.sub("", found["words"])) for page, text in pages for found in COMMAND.finditer(text)]


def rows(page: str, columns: int) -> list[tuple[str, ...]]:
    """The cells of the rows of a page's tables of so many columns."""
    lines = (line.strip("|").split("|") for line in (DOCS / page).read_text().splitlines() if line.startswith("|"))
    return [tuple(cell.strip() for cell in line) for line in lines if len(line) == columns]


@pytest.mark.parametrize("words", [pytest.param(words, id=f"{page} {words}") for page, words in commands()])
def test_commands(words: str) -> None:
    """Each command that docs show has these options."""
    name, *rest = shlex.split(words)
    known = {option for each in COMMANDS[name].params for option in (*each.opts, *each.secondary_opts)}
    assert {each for each in rest if each.startswith("-") and each != "-"} <= known


def test_every_page_has_commands() -> None:
    """The search finds them."""
    assert {"metrics.md", "captures.md", "graph.md", "runs.md", "report.md", "why.md"} <= {
        page for page, _ in commands()
    }


def test_metrics() -> None:
    """The tables have every metric, with its statistic."""
    told: dict[str, str] = {}
    for names, statistic, *_ in (*rows("metrics.md", 4), *rows("metrics.md", 3)):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), statistic)
    assert {each.name: each.statistic for each in METRICS}.items() <= told.items()


def test_files_of_a_record() -> None:
    """The table has all of them, and no others."""
    assert {name.strip("`") for name, _ in rows("runs.md", 2) if name.startswith("`")} == set(FILES)


def test_outcomes_of_a_trace() -> None:
    """Each is explained."""
    told = {name for names, _ in rows("why.md", 2) for name in re.findall(r"`(\w+)`", names)}
    assert set(get_args(Outcome)) <= told
