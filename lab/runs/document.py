"""A run as the files of its record, and back; what is wrong with a file becomes one sentence.

Each thing is written once: `topology.yaml` is the file as the user wrote it, `result.json` the document of `lab burst
--json`, `samples.jsonl` a sample a line, and `run.json` has the rest. A record's name is its directory's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
import json
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from lab.burst.load import Load
from lab.burst.result import SCHEMA as RESULT_SCHEMA
from lab.burst.result import BurstResult
from lab.errors import LabError, UsageError, escaped
from lab.observe.samples import InterfaceCount, Sample
from lab.runs.commands import TOPOLOGY_FILE
from lab.runs.run import Environment, Run
from lab.schema.faults import dotted
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter
from lab.topology import Topology

__all__ = ["FILES", "RUN_FILE", "SCHEMA", "from_files", "is_of_a_run", "to_files"]

SCHEMA = 1
"""The schema of `run.json`; raised whenever an earlier record could not be read any more."""

RUN_FILE, RESULT_FILE, SAMPLES_FILE = "run.json", "result.json", "samples.jsonl"
FILES = (RUN_FILE, RESULT_FILE, SAMPLES_FILE, TOPOLOGY_FILE)

_LATEST_S = 253_402_300_800.0
"""Years have four digits (datetime.MAXYEAR)."""
_LONGEST_S = 30 * 86_400.0
"""A run; a figure of a thousand years, for one damaged number, would never be drawn."""

_NODE_SAMPLE = tuple[dict[str, int], dict[str, int], int, InterfaceCount, InterfaceCount]
_SAMPLE_LINE = tuple[float, dict[str, _NODE_SAMPLE]]


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is in `run.json` beside the schema's number."""

    began_s: float
    commands: tuple[str, ...]
    load: Load
    environment: Environment
    samples: int
    """How many lines `samples.jsonl` has: by it a file that was cut off is known."""
    topology: Topology
    nodes: tuple[NatNode, ...]
    limiters: tuple[Limiter, ...]


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Made once, and not before it is needed."""
    return TypeAdapter(kind)


def to_files(run: Run) -> dict[str, str]:
    """File name → text."""
    rest = _Rest(
        began_s=run.began_s,
        commands=run.commands,
        load=run.load,
        environment=run.environment,
        samples=len(run.samples),
        topology=run.topology,
        nodes=run.nodes,
        limiters=run.limiters,
    )
    document = {"schema": SCHEMA, **_adapter(_Rest).dump_python(rest, mode="json", by_alias=True)}
    # A line for each thing: few enough lines to look at, and `grep commands` finds the commands.
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in document.items())
    return {
        RUN_FILE: f"{{\n{lines}\n}}\n",
        RESULT_FILE: json.dumps(run.result.to_json(), indent=2) + "\n",
        SAMPLES_FILE: "".join(f"{sample.to_json()}\n" for sample in run.samples),
        TOPOLOGY_FILE: run.topology_text,
    }


def from_files(id_: str, files: Mapping[str, str]) -> Run:
    """The run that `to_files` wrote; UsageError says which file is damaged and how, or of which version it is."""
    rest = _rest(id_, files[RUN_FILE])
    samples = _samples(id_, files[SAMPLES_FILE], rest.samples)
    _require_sense(id_, rest, samples)
    return Run(
        id=id_,
        began_s=rest.began_s,
        commands=rest.commands,
        topology_text=files[TOPOLOGY_FILE],
        topology=rest.topology,
        load=rest.load,
        result=_result(id_, files[RESULT_FILE]),
        nodes=rest.nodes,
        limiters=rest.limiters,
        samples=samples,
        environment=rest.environment,
    )


def is_of_a_run(text: str) -> bool:
    """Whether a `run.json` is one that the lab wrote, of this version or of another."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.keys() >= {"schema", "began_s", "commands", "topology"}


def _rest(id_: str, text: str) -> _Rest:
    document = _object(id_, RUN_FILE, text)
    _require_schema(id_, RUN_FILE, document, SCHEMA)
    rest: _Rest = _validated(id_, RUN_FILE, _Rest, text)
    return rest


def _result(id_: str, text: str) -> BurstResult:
    document = _object(id_, RESULT_FILE, text)
    _require_schema(id_, RESULT_FILE, document, RESULT_SCHEMA)
    if "udp" in document:  # flows over UDP, with the fields of connections (BurstResult.to_json)
        document["tcp"] = document.pop("udp")
    result: BurstResult = _validated(id_, RESULT_FILE, BurstResult, json.dumps(document), strict=True)
    return result


def _samples(id_: str, text: str, written: int) -> tuple[Sample, ...]:
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            _adapter(_SAMPLE_LINE).validate_json(line, strict=True)
        except ValidationError:
            _refuse(id_, SAMPLES_FILE, f"line {number} is no sample: {_shortened(line)}")
    if len(lines) != written:
        _refuse(id_, SAMPLES_FILE, f"has {len(lines):,} samples, {written:,} were written")
    try:
        return tuple(Sample.from_json(line) for line in lines)
    except ValueError as error:  # numbers larger than any counter's
        _refuse(id_, SAMPLES_FILE, str(error))


def _require_sense(id_: str, rest: _Rest, samples: tuple[Sample, ...]) -> None:
    """Refuse what is of the right form, and yet cannot be."""
    if not 0 <= rest.began_s < _LATEST_S:
        _refuse(id_, RUN_FILE, f"began_s: {rest.began_s:g} is no time")
    if missing := {limiter.place for limiter in rest.limiters} - {node.node for node in rest.nodes}:
        _refuse(id_, RUN_FILE, f"nodes: {min(missing)} is missing, which limiters has")
    for number, sample in enumerate(samples, start=1):
        if abs(sample.at_s - rest.began_s) > _LONGEST_S:
            _refuse(
                id_, SAMPLES_FILE, f"line {number}: {sample.at_s:.17g} is more than 30 days from the run's beginning"
            )


def _object(id_: str, file: str, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "nested too deeply"
        where = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        _refuse(id_, file, "is empty" if not text.strip() else f"is not JSON: {where}{reason}")
    if not isinstance(document, dict):
        _refuse(id_, file, f"is no JSON object: {_shortened(text)}")
    return document


def _require_schema(id_: str, file: str, document: Mapping[str, Any], known: int) -> None:
    schema = document.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        _refuse(id_, file, "has no schema number")
    if schema != known:
        raise UsageError(
            f"run {id_} was recorded by another version of the lab ({file} has schema {schema}, this is {known}); "
            f"read it with that version, or make it again with the commands in its run.json"
        )


def _validated(id_: str, file: str, kind: type, text: str, *, strict: bool = False) -> Any:
    """A topology cannot be read strictly: its fields take what YAML has."""
    try:
        return _adapter(kind).validate_json(text, strict=strict)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_input=False, include_context=False)
        what = "is missing" if first["type"] == "missing" else first["msg"][:1].lower() + first["msg"][1:]
        more = f" (and {len(others)} more)" if others else ""
        _refuse(id_, file, f"{dotted(first['loc'])}: {what}{more}")
    except LabError as error:  # a load that makes no sense
        _refuse(id_, file, str(error))


def _refuse(id_: str, file: str, what: str) -> NoReturn:
    raise UsageError(f"run {id_} is damaged: {file}: {escaped(what)}") from None


def _shortened(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}…")
