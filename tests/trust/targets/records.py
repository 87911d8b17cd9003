"""Records of runs, which people send each other, and what a lab remembers of itself below /run/lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from lab.burst.lacking import noted
from lab.errors import LabError, RecordError, UsageError
from lab.impair.ledger import _noted
from lab.kernel.bursts import Bursts
from lab.kernel.remains import remains
from lab.kernel.state import Record, State
from lab.kernel.sysctl import ConntrackMaxKeeper
from lab.nodes.build import build
from lab.observe import history
from lab.plan.names import ETC_NETNS
from lab.plan.objects import ConntrackMax, File, Namespace
from lab.runs.document import to_files
from lab.runs.store import load
from lab.topology import load_text
from tests.support.runs import ran
from tests.support.topologies import path_of
from tests.trust.mutation import Mutation, bytes_changed, either, json_changed, yaml_changed
from tests.trust.targets.target import Reader, Target, require_tame

__all__ = ["LABS", "RUNS"]

_LAB = "hostile"
_FAULTS = {"rate_bit_per_s": 10**7, "loss_percent": None, "latency_s": 0.1, "jitter_s": None, "silence": False}
_IMPAIRMENT = {"node": "cache", "interface": "vpc", "faults": _FAULTS, "dropped_packets": 3}
_CONNTRACK_MAX = ".nf_conntrack_max.json"
_SIDE_FILES = {
    "identity": "0" * 32,
    "phase": "up",
    "namespaces.jsonl": '["lab-hostile-vpc", 4, 4026532000, 17]\n',
    "faults.jsonl": json.dumps(_IMPAIRMENT) + "\n",
    "emfile.json": json.dumps(
        {
            "offered": 9,
            "emfile": 1,
            "failed_otherwise": 0,
            "each": {"limit": 1024, "at_start": 16, "holder": "execution environment"},
            "refused_packets": 0,
            "file": "/run/lab/hostile/emfile.json",
        }
    ),
    "bursts/begun": '["eni-private"]\n',
    "bursts/1.json": '{"nodes": ["eni-private"], "reserved": [], "ports": []}',
    "log/samples.0.jsonl": '[1795340463.0,{"natgw":[{"connections_admitted":3},{},3,[1,2,3,4],[1,2,3,4]]}]\n',
    _CONNTRACK_MAX: '{"found": 262144, "set": 300000, "labs": {"hostile": 300000}}',
}


def _named(mutation: Mutation) -> Mutation:
    """An input is the name of one file, a NUL, and the content: only the content is changed."""

    def changed(random: Random, data: bytes) -> bytes:
        name, _, content = data.partition(b"\0")
        chosen = yaml_changed if name.endswith(b".yaml") else mutation
        return name + b"\0" + chosen(random, content)

    return changed


def _seeds(files: dict[str, str]) -> Sequence[bytes]:
    return [f"{name}\0{text}".encode() for name, text in files.items()]


def _run_seeds() -> Sequence[bytes]:
    return _seeds(to_files(ran()))


@contextmanager
def _run_reader() -> Iterator[Reader]:
    files = to_files(ran())
    with TemporaryDirectory() as directory:

        def read(data: bytes) -> None:
            with _put(Path(directory), files, data), _refused(UsageError):
                load(Path(directory))

        for name, text in files.items():
            Path(directory, name).write_text(text, encoding="utf-8")
        yield read


def _lab_files() -> dict[str, str]:
    with TemporaryDirectory() as root:
        record = _written(Path(root))
        names = ("plan.json", "topology.json", "topology.yaml", "scale")
        files = {name: (record.path / name).read_text(encoding="utf-8") for name in names}
    return files | _SIDE_FILES


def _written(root: Path) -> Record:
    text = path_of("tiny").read_text(encoding="utf-8").replace("name: tiny", f"name: {_LAB}")
    topology = load_text(text)
    record = State(root).new_record(_LAB)
    record.write(build(topology), topology, text)
    (record.path / "bursts").mkdir()
    return record


@contextmanager
def _lab_reader() -> Iterator[Reader]:
    files = _lab_files()
    with TemporaryDirectory() as directory:
        root = Path(directory)
        state = State(root / "labs")
        record = _written(state.root)
        setting = root / "nf_conntrack_max"  # a keeper of the host's would write to the host's
        for name, text in files.items():
            _at(record, name).write_text(text, encoding="utf-8")

        def read(data: bytes) -> None:
            setting.write_text("262144", encoding="ascii")
            with _put(record.path, files, data, lambda name: _at(record, name)):
                for names, reading in _readings(state, record, setting):
                    if data.partition(b"\0")[0].decode(errors="replace") in names:
                        with _refused(RecordError):
                            reading()

        yield read


def _readings(state: State, record: Record, setting: Path) -> Iterator[tuple[tuple[str, ...], Callable[[], object]]]:
    """Everything that commands read of a lab, with the files that it depends on."""
    keeper = ConntrackMaxKeeper(state.conntrack_max_record, setting=setting, notice=require_tame)
    bursts = ("bursts/begun", "bursts/1.json")
    yield ("identity",), record.identity
    yield ("phase",), record.phase
    yield ("plan.json",), record.plan
    yield ("plan.json",), lambda: _require_own(state, record)
    yield ("plan.json", "identity", "phase"), record.fault
    yield ("topology.json",), record.topology
    yield ("topology.yaml",), record.topology_text
    yield ("scale",), record.scale
    yield ("namespaces.jsonl",), lambda: list(record.known_namespaces())
    yield ("faults.jsonl",), lambda: list(_noted(record.path))
    yield ("emfile.json",), lambda: noted(record.path)
    yield ("log/samples.0.jsonl",), lambda: list(history.read(record.logs))
    yield bursts, lambda: _under_way(record)
    yield (_CONNTRACK_MAX,), lambda: keeper.release(_LAB)


def _under_way(record: Record) -> None:
    bursts = Bursts(record.path / "bursts")
    with bursts.beginning():
        bursts.since()


def _require_own(state: State, record: Record) -> None:
    """`down` takes away nothing that is not this lab's."""
    for item in remains(state, record).objects:
        if isinstance(item, Namespace):
            assert item.name.startswith(f"lab-{_LAB}-"), item
            assert "/" not in item.name, item
        elif isinstance(item, File):
            path = Path(item.path)
            inside = path if path.parent == ETC_NETNS else path.parent
            assert inside.parent == ETC_NETNS, item
            assert inside.name.startswith(f"lab-{_LAB}-"), item
            assert ".." not in path.parts, item
        else:
            assert isinstance(item, ConntrackMax), item


def _at(record: Record, name: str) -> Path:
    return record.path.parent / name if name == _CONNTRACK_MAX else record.path / name


@contextmanager
def _put(
    directory: Path, files: dict[str, str], data: bytes, at: Callable[[str], Path] | None = None
) -> Iterator[None]:
    """One file as the input has it, while the block runs."""
    given, _, content = data.partition(b"\0")
    name = given.decode(errors="replace")
    if name not in files:  # a mutation of the name itself
        name, content = next(iter(files)), data
    path = at(name) if at else directory / name
    path.write_bytes(content)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        path.write_text(files[name], encoding="utf-8")


@contextmanager
def _refused(kind: type[LabError]) -> Iterator[None]:
    """A refusal is one sentence, which a terminal can show."""
    try:
        yield
    except kind as refused:
        require_tame(str(refused))
    except FileNotFoundError:
        pass


RUNS = Target(
    "run", "files of run records", _run_seeds, _named(either(json_changed, json_changed, bytes_changed)), _run_reader
)
LABS = Target(
    "lab",
    "files of labs' records",
    lambda: _seeds(_lab_files()),
    _named(either(json_changed, bytes_changed)),
    _lab_reader,
)
