"""What docs say of commands and of names is what the program has."""

from __future__ import annotations

from pathlib import Path
import re
import shlex
from typing import Any, get_args

import pytest
import typer

from lab.cli.commands import app
from lab.diagnosis import drops
from lab.diagnosis.findings import CAUSES
from lab.metrics import METRICS
from lab.nodes.diagnosis import limiting_kinds
from lab.nodes.registry import kind_of
from lab.runs.document import FILES
from lab.trace import Outcome

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
COMMAND = re.compile(rf"^ {{4}}(?:\$ )?(?:sudo )?lab (?P<words>(?:{'|'.join(COMMANDS)})\b.*)$", re.MULTILINE)
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
    assert {"metrics.md", "captures.md", "graph.md", "runs.md", "report.md", "why.md", "look-alikes.md"} <= {
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


# ── Look-alikes ─────────────────────────────────────────────────────────────────────────────────────────────

_NO_FAULT = {
    *("no_limit", "half_open"),  # nothing was lost
    *("failed", "lost_parts"),  # what no other cause explains, and what is the lab's own
}


def headings(page: Path = DOCS / "look-alikes.md") -> list[str]:
    """The headings of a page."""
    return re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_cause_has_its_heading() -> None:
    """People find each fault that a verdict can name, and no name that has gone."""
    named = [(name, told) for each in headings() for name, told in re.findall(r"`(\w+)`(?:, `\w+`)?(?:: (.*))?", each)]
    named += [(name, "") for each in headings() for name in re.findall(r"`(\w+)`", each)]
    assert {name for name, _ in named} == CAUSES.keys() - _NO_FAULT
    limits = {told for name, told in named if name == "limit" and told}
    assert limits == {kind_of(kind).words for kind in limiting_kinds()}
    barriers = " ".join(each for each in headings() if "`dropped`" in each)
    assert all(cause.words in barriers for cause in drops.CAUSES.values() if not cause.questions)


def links(page: Path) -> list[str]:
    """What a page links to in this repository."""
    return re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8"))


PAGES = (
    *sorted(DOCS.glob("*.md")),
    DOCS.parent / "README.md",
    DOCS.parent / "SECURITY.md",
    DOCS.parent / "topologies" / "README.md",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links(page: Path) -> None:
    """What a page links to is there: files, and headings of pages."""
    for file, _, anchor in (link.partition("#") for link in links(page)):
        target = page.parent / file if file else page
        assert target.exists(), file
        anchors = (
            {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings(target)} if anchor else ()
        )
        assert not anchor or anchor in anchors, f"{file}#{anchor}"


def test_topologies_of_look_alikes() -> None:
    """A link to a file has the file's name."""
    text = (DOCS / "look-alikes.md").read_text(encoding="utf-8")
    assert all(f"[`{Path(link).name}`]" in text for link in links(DOCS / "look-alikes.md") if not link.startswith("#"))
