"""`./run trust [NAME...]`: every promise of safety is tried at full length, and counted.

It writes trust.json, where what was tried replaces what is there of the same promise; from there the table in
docs/reliability.md is written once it has all promises. The exit status is 1 if anything was not as promised.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import UTC, datetime
import json
import os
from pathlib import Path
import platform
import sys
import time
from typing import Any

from tests.trust.promise import Effort, Promise
from tests.trust.promises import PROMISES

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: ./run trust -->", "<!-- end of figures -->"


def main() -> int:
    """Try the named promises, or all of them; the exit status."""
    options = _options()
    chosen = [promise for promise in PROMISES if not options.names or promise.name in options.names]
    effort = Effort.SHORT if options.short else Effort.EVERY if options.every_step else Effort.FULL
    output = Path(options.output or (os.devnull if options.short else "trust.json"))
    failed = False
    for promise in chosen:
        row = _tried(promise, effort)
        failed |= bool(row["failures"])
        rows = _kept(output, row) | {promise.name: row}
        tried = [rows[each.name] for each in PROMISES if each.name in rows]
        output.write_text(json.dumps({"promises": tried}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if output != Path(os.devnull):
        print(f"written: {output}")
    if not options.short and len(tried) == len(PROMISES):
        _write_table(tried)
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    return int(failed)


def _kept(output: Path, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Promise → what came of it before, on the same kernel and at full length."""
    try:
        before = json.loads(output.read_text(encoding="utf-8"))["promises"]
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    same = (each for each in before if each["kernel"] == row["kernel"] and each["effort"] != Effort.SHORT.value)
    return {each["name"]: each for each in same}


def _options() -> Any:
    known = ", ".join(promise.name for promise in PROMISES)
    parser = ArgumentParser(
        prog="./run trust", description=__doc__.split("\n", 1)[1], formatter_class=RawDescriptionHelpFormatter
    )
    names = [promise.name for promise in PROMISES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {known}")
    parser.add_argument("--short", action="store_true", help="the form that is in ./run test")
    parser.add_argument(
        "--every-step", action="store_true", help="faults: each kind at every step of all topologies, which takes hours"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="default: trust.json; none for --short")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no promise is named {', '.join(unknown)}; known: {known}")
    if options.every_step and (options.short or options.names != ["faults"]):
        parser.error("--every-step is for: ./run trust faults --every-step")
    return options


def _tried(promise: Promise, effort: Effort) -> dict[str, Any]:
    print(f"{promise.name}: {promise.text}", flush=True)
    start = time.monotonic()
    outcome = promise.check(effort)
    seconds = round(time.monotonic() - start)
    for failure in outcome.failures:
        print(f"  not as promised: {failure}", file=sys.stderr)
    remarks = f"; {outcome.remarks}" if outcome.remarks else ""
    verdict = f"{outcome.tried:,} {outcome.of_what}, {len(outcome.failures):,} not as promised{remarks}"
    print(f"  {verdict} ({seconds} s)", flush=True)
    return {
        "name": promise.name,
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "effort": effort.value,
        "promise": promise.text,
        "method": promise.method,
        "tried": outcome.tried,
        "of_what": outcome.of_what,
        "failures": list(outcome.failures),
        "remarks": outcome.remarks,
        "seconds": seconds,
    }


def _write_table(rows: Sequence[dict[str, Any]]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    days = " and ".join(sorted({row["made"] for row in rows}))
    minutes = sum(row["seconds"] for row in rows) / 60
    lines = [
        BEGIN,
        "",
        f"Measured on {days}, Linux {rows[0]['kernel']}, in {minutes:.0f} minutes.",
        "",
        "| Promise | How it is tried | Tried | Not as promised |",
        "|---|---|---|---|",
    ]
    for row in rows:
        tried = f"{row['tried']:,} {row['of_what']}" + (f"; {row['remarks']}" if row["remarks"] else "")
        lines.append(f"| {row['promise']} | {row['method']} | {tried} | {len(row['failures'])} |")
    DOCUMENT.write_text(before + "\n".join([*lines, "", END]) + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
