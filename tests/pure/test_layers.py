"""Imports point down: which room of the project may know which other, and who alone may touch, print or exit."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    {"lab.errors", "lab.counting", "lab.invoker"},  # what goes wrong, what is counted, who asked: for everyone
    {"lab.topology", "lab.impairment"},  # what a user writes, of a lab and of the faults in it
    # what a topology and a load mean, and which topology a peak needs, without a kernel
    {"lab.plan", "lab.predict", "lab.free_ports", "lab.load", "lab.capacity", "lab.graph"},
    {"lab.capacity_topology"},  # writes down what a peak needs
    {"lab.kernel"},  # makes a plan so
    {"lab.capture"},  # writes down what crosses it
    {"lab.observe"},  # reads what is so
    {"lab.watch", "lab.metrics"},  # puts it on a drawing; makes of it what CloudWatch shows, and what it leaves out
    {"lab.history"},  # keeps what was so
    {"lab.collector"},  # fills it, in a process of its own
    {"lab.first_refusal", "lab.result", "lab.disruption"},  # what was seen; no room knows the other
    {"lab.verdict"},  # what it means
    {"lab.scene"},  # who takes part in a burst
    {"lab.settling"},  # what a burst leaves
    {"lab.burst"},  # one burst, from question to answer
    {"lab.runs"},  # what is kept of it
    {"lab.why", "lab.trace"},  # why connections were lost, and where one was
    {"lab.report"},  # what is shown of that
    {"lab.run"},  # a lab from up to down
    {"lab.cli", "lab.pytest_plugin", "lab"},  # the doors: no room within knows them
)
"""From the bottom up; a room imports itself and rooms of lower layers."""

FROM_TRAFFIC = {
    "traffic.spec",  # what a process is told: the plan writes it
    "traffic.result",  # what a burst says: the result carries it
    "traffic.packet_record",  # a packet at a place: the scapy engine reports it, the command line shows it
    "traffic.schedule",  # when a client sends again: the report says it of a load
    "traffic.arrivals",  # when: arithmetic that the prediction shares
    "traffic.resources",  # how many: what it asks of the machine
    "traffic.packet_socket",  # how packet sockets are opened, filtered and counted: the lab has its own
    "traffic.fleet",  # who connects from where: a refused tuple becomes a connection's number again
}
"""All that the lab knows of `traffic`, whose processes run in namespaces of their own and know nothing of the lab."""

SHARED_BY_NODES = {"lab.plan.nodes.firewalls", "lab.plan.nodes.parts", "lab.plan.nodes.slots"}
"""A node kind's module reads the layout and these, never another node kind: a new kind is a new file."""

DOORS = ("lab.cli", "traffic.events", "traffic.__main__")
"""Who prints and exits: the command line, and in `traffic` the one voice that its processes have."""

SPEAKING = {"print", "input", "exit", "quit", "breakpoint", "SystemExit"}
SPEAKING_OF = {
    "sys": {"exit", "stdout", "stderr", "__stdout__", "__stderr__"},
    "os": {"_exit", "abort"},
    "builtins": SPEAKING,
}
TERMINAL_LIBRARIES = {"typer", "click", "rich"}


class Import(NamedTuple):
    """One imported module, whether it is loaded with the module that names it, and where it is named."""

    target: str
    when_loaded: bool
    line: int


def within(module: str, room: str) -> bool:
    """Whether a module is the room or a part of it."""
    return module == room or module.startswith(f"{room}.")


def imports(tree: ast.Module, modules: Collection[str]) -> Iterator[Import]:
    """Every import, those inside functions too; `from a import b` means the module `a.b` if there is one."""
    later = {id(node) for each in ast.walk(tree) if isinstance(each, _FUNCTIONS) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [_imported_from(node, each.name, modules) for each in node.names]
        else:
            continue
        yield from (Import(target, id(node) not in later, node.lineno) for target in targets)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _imported_from(node: ast.ImportFrom, name: str, modules: Collection[str]) -> str:
    source = "." * node.level + (node.module or "")
    return f"{source}.{name}" if f"{source}.{name}" in modules else source


def layer(module: str) -> int:
    """The layer of the room that a module is in; the package `lab` itself is a door, not everyone's home."""
    return next(
        index
        for index, rooms in enumerate(LAYERS)
        if any(module == room if room == "lab" else within(module, room) for room in rooms)
    )


def room_of(module: str) -> str:
    """`lab.plan` for `lab.plan.nodes.fleet`."""
    return ".".join(module.split(".")[:2])


def points_down(module: str, target: str) -> bool:
    """Whether a module of the lab may import another."""
    return room_of(module) == room_of(target) or layer(target) < layer(module)


def import_faults(module: str, each: Import) -> Iterator[str]:
    """What is wrong with one import of a module."""
    target = each.target
    if target.startswith("."):
        yield "relative; write the whole name"
    if within(module, "traffic") and within(target, "lab"):
        yield "traffic knows nothing of the lab"
    if within(module, "lab") and within(target, "lab") and not points_down(module, target):
        yield "imports point down"
    if within(module, "lab") and within(target, "traffic") and target not in FROM_TRAFFIC:
        yield "the lab knows specs, results and fleets of traffic"
    if within(module, "lab.plan.nodes") and within(target, "lab.plan.nodes") and target not in SHARED_BY_NODES:
        yield "node kinds do not know each other"
    yield from _library_faults(module, each)


def _library_faults(module: str, each: Import) -> Iterator[str]:
    library = each.target.split(".")[0]
    if library == "pyroute2" and not within(module, "lab.kernel"):
        yield "only lab.kernel speaks netlink"
    if library in TERMINAL_LIBRARIES and not within(module, "lab.cli"):
        yield "only lab.cli has a terminal"
    if library == "scapy" and (each.when_loaded or not within(module, "traffic.engines")):
        yield "scapy takes a second to load: only engines, and only inside a function"


def speech(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that prints, reads the terminal or ends the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in SPEAKING:
            yield node.id, node.lineno
        pairs: list[tuple[str, str]] = []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pairs = [(node.value.id, node.attr)]
        if isinstance(node, ast.ImportFrom):
            pairs = [(node.module or "", each.name) for each in node.names]
        spoken = [f"{owner}.{name}" for owner, name in pairs if name in SPEAKING_OF.get(owner, ())]
        yield from ((name, node.lineno) for name in spoken if isinstance(node, ast.stmt | ast.expr))


def violations(module: str, source: str, modules: Collection[str]) -> list[str]:
    """Everything that a module of this name and text may not do, with the line; `modules` are all there are."""
    tree = ast.parse(source)
    found = [
        f"{module}:{each.line}: {each.target}: {fault}"
        for each in imports(tree, modules)
        for fault in import_faults(module, each)
    ]
    if not any(within(module, door) for door in DOORS):
        found += [f"{module}:{line}: {name}: only {DOORS[0]} prints and exits" for name, line in speech(tree)]
    return found


def project() -> dict[str, str]:
    """Module name → source, of `lab` and `traffic`."""
    paths = [path for package in ("lab", "traffic") for path in sorted((ROOT / package).rglob("*.py"))]
    return {_module(path): path.read_text(encoding="utf-8") for path in paths}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PROJECT = project()


@pytest.mark.parametrize("module", PROJECT)
def test_module_keeps_to_its_room(module: str) -> None:
    """A module imports what lies below it, and prints or exits only behind a door."""
    assert violations(module, PROJECT[module], PROJECT) == []


def test_every_room_has_a_layer() -> None:
    """The table names each room of the lab once, and no room that is gone."""
    rooms = [room for layer_ in LAYERS for room in layer_]
    assert sorted(rooms) == sorted({room_of(module) for module in PROJECT if within(module, "lab")})


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("lab.plan.build", "from lab.kernel import apply", "imports point down"),
        ("lab.plan.build", "import lab.run", "imports point down"),
        ("lab.plan.build", "from lab import predict", "imports point down"),
        ("lab.plan.build", "from lab import Lab", "imports point down"),
        ("lab.plan.build", "def f():\n    from lab.observe.readings import read", "imports point down"),
        ("lab.plan.build", "if TYPE_CHECKING:\n    from lab.run import Lab", "imports point down"),
        ("lab.plan.build", "from . import names", "relative"),
        ("lab.plan.nodes.vpc", "from lab.plan.nodes import fleet", "node kinds do not know each other"),
        ("lab.plan.nodes.vpc", "from lab.plan.nodes.fleet import plan", "node kinds do not know each other"),
        ("lab.burst", "from pyroute2 import IPRoute", "only lab.kernel speaks netlink"),
        ("lab.burst", "from traffic.clients import client", "the lab knows specs"),
        ("lab.burst", "import traffic", "the lab knows specs"),
        ("lab.burst", "def f():\n    import typer", "only lab.cli has a terminal"),
        ("lab.burst", "print('done')", "prints and exits"),
        ("lab.burst", "import sys\nsys.exit(1)", "prints and exits"),
        ("lab.burst", "from sys import exit as leave", "prints and exits"),
        ("lab.burst", "raise SystemExit(1)", "prints and exits"),
        ("lab.kernel.apply", "import sys\nsys.stdout.write('')", "prints and exits"),
        ("traffic.fleet", "from lab.topology import load", "traffic knows nothing of the lab"),
        ("traffic.frames", "def f():\n    from scapy.packet import Raw", "only engines"),
        ("traffic.engines.frame_codec", "from scapy.packet import Raw", "only inside a function"),
        ("traffic.engines.packet.engine", "print('x')", "prints and exits"),
    ],
)
def test_planted_violation(module: str, line: str, fault: str) -> None:
    """The checker sees each kind of violation, wherever in a module it hides."""
    (found,) = violations(module, f'"""A room."""\n{line}\n', PROJECT)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lab.plan.build", "from lab.topology import Topology"),
        ("lab.plan.build", "from lab.plan.nodes import fleet, vpc"),
        ("lab.plan.nodes.vpc", "from lab.plan.nodes import parts, slots"),
        ("lab.kernel.links", "from pyroute2 import IPRoute"),
        ("lab.first_refusal", "from traffic.fleet import Fleet"),
        ("lab.cli.show", "import sys\nsys.stdout.write('')"),
        ("traffic.engines.scapy.codec", "def f():\n    from scapy.packet import Raw"),
    ],
)
def test_what_is_allowed(module: str, line: str) -> None:
    """The checker lets pass what points down."""
    assert violations(module, f'"""A room."""\n{line}\n', PROJECT) == []
