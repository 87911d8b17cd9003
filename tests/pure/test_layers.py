"""Imports point down: which room of the project may know which other, and who alone may touch, print or exit."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

WRITTEN_BY_USERS = {"lab.schema", "lab.nodes.*.model", "lab.topology"}

LAYERS = (
    # what goes wrong; the limiter as nft text and the names of its counters; what each node kind answers to all rooms
    {"lab.errors", "lab.interrupts", "lab.slots", "lab.nodes.registry"},
    # what a user writes: the types of its fields, each node kind's part of it, the whole file
    WRITTEN_BY_USERS,
    # kernel objects as values; what a connection crosses; what a drawing says of each node kind
    {"lab.plan", "lab.paths", "lab.nodes.*.drawing"},
    {"lab.nodes", "lab.kernel", "lab.graph"},  # the plan of each node kind; what makes a plan so; drawings
    # reads what is so; faults on links; what crosses them; which limits a load meets, which topology a peak needs;
    # where the labs of a user without root are
    {"lab.observe", "lab.impair", "lab.capture", "lab.capacity", "lab.sandbox"},
    {"lab.burst", "lab.converge", "lab.metrics", "lab.trace", "lab.watch"},  # what is done with a lab that is up
    # what is kept of a burst; a function's own code in the lab
    {"lab.runs", "lab.invoke"},
    {"lab.diagnosis"},  # why connections were lost
    {"lab.lab", "lab.report"},  # the API, which delegates to all of them; pages of it
    {"lab.pytest_plugin", "lab", "lab.cli"},  # the doors: Python's and the command line
)
"""From the bottom up; a room imports itself and rooms of lower layers."""

FROM_TRAFFIC = {
    "traffic.spec",  # what a process is told: the plan writes it
    "traffic.result",  # what a burst says: the result carries it
    "traffic.environments.spec",  # whose execution environments there are, and what they run
    "traffic.environments.result",  # what invocations came to
    "traffic.packet_record",  # a packet at a place: the scapy engine reports it, the command line shows it
    "traffic.schedule",  # when a client sends again: the report says it of a load
    "traffic.arrivals",  # when: arithmetic that the prediction shares
    "traffic.resources",  # how many: what it asks of the machine
    "traffic.buffers",  # room in sockets, which those of the lab ask for, too
    "traffic.packet_socket",  # how packet sockets are opened, filtered and counted, for those of the lab
    "traffic.privileges",  # what the collector gives up, too, and whose processes are the lab's
    "traffic.fleet",  # who connects from where: a refused tuple becomes a connection's number again
}
"""All that the lab knows of `traffic`, whose processes run in namespaces of their own and know nothing of the lab."""

SHARED_BY_NODES = {"build", "diagnosis", "drawing", "firewalls", "kind", "metric", "parts", "proposals", "registry"}
"""What is in `lab.nodes` and is no node kind: a kind reads the layout and these, never another kind."""

DOORS = (
    *("lab.cli", "lab.sandbox", "traffic.events", "traffic.__main__"),
    *("traffic.servers.listeners", "traffic.environments.processes", "traffic.environments.freezer"),
)
"""Who prints and exits: the command line; the one voice that processes of `traffic` have; processes that are forked."""

ABOUT_THE_USER = ("lab.kernel.invoker", "lab.kernel.outputs")
"""All that the command line knows of `lab.kernel`: whose files it writes."""

SPEAK_NETLINK = {"lab.kernel", "lab.impair"}

SPEAKING = {"print", "input", "exit", "quit", "breakpoint", "SystemExit"}
SPEAKING_OF = {
    "sys": {"exit", "stdout", "stderr", "__stdout__", "__stderr__"},
    "os": {"_exit", "abort"},
    "builtins": SPEAKING,
}
TERMINAL_LIBRARIES = {"typer": ("lab.cli",), "click": ("lab.cli",), "rich": ("lab.cli", "lab.watch")}
"""Which rooms may load them: the command line has a terminal, `lab.watch` makes the lines that it shows."""


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


def room_of(module: str) -> str:
    """`lab.plan` for `lab.plan.build`; the answers, models and drawings of node kinds are rooms of their own."""
    first, *rest = module.split(".")
    if rest[:1] == ["nodes"] and rest[-1] in ("model", "drawing"):
        return f"lab.nodes.*.{rest[-1]}"
    if module in ("lab.nodes.kind", "lab.nodes.registry") or (len(rest) == 2 and kind_of(module)):
        return "lab.nodes.registry"
    return ".".join((first, *rest[:1]))


def layer(module: str) -> int:
    """The layer of the room that a module is in."""
    room = room_of(module)
    return next(index for index, rooms in enumerate(LAYERS) if room in rooms)


def points_down(module: str, target: str) -> bool:
    """Whether a module of the lab may import another."""
    same = room_of(module) == room_of(target) or {room_of(module), room_of(target)} <= WRITTEN_BY_USERS
    return same or layer(target) < layer(module)


def kind_of(module: str) -> str | None:
    """The node kind that a module belongs to."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["lab", "nodes"] and len(parts) > 2 and parts[2] not in SHARED_BY_NODES else None


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
    if kind_of(module) and kind_of(target) not in (None, kind_of(module)) and not target.endswith(".model"):
        yield "node kinds do not know each other"
    if within(module, "lab.cli") and within(target, "lab.kernel") and target not in ABOUT_THE_USER:
        yield "the command line has no kernel I/O of its own: it calls Lab"
    yield from _library_faults(module, each)


def _library_faults(module: str, each: Import) -> Iterator[str]:
    library = each.target.split(".")[0]
    if library == "pyroute2" and room_of(module) not in SPEAK_NETLINK:
        yield "only rooms that change the kernel speak netlink"
    if not any(within(module, room) for room in TERMINAL_LIBRARIES.get(library, (module,))):
        yield f"only {' and '.join(TERMINAL_LIBRARIES[library])} may load it"
    if library == "scapy" and (each.when_loaded or not within(module, "traffic.engines")):
        yield "scapy takes a second to load: only engines, and only inside a function"


def speech(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that prints, reads the terminal or ends the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in SPEAKING:
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
    rooms = [room for rooms in LAYERS for room in rooms]
    assert sorted(rooms) == sorted({room_of(module) for module in PROJECT if within(module, "lab")})


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("lab.nodes.build", "from lab.kernel import apply", "imports point down"),
        ("lab.nodes.build", "import lab.lab", "imports point down"),
        ("lab.nodes.build", "from lab import cli", "imports point down"),
        ("lab.nodes.build", "from lab import Lab", "imports point down"),
        ("lab.nodes.build", "def f():\n    from lab.observe.readings import read", "imports point down"),
        ("lab.nodes.build", "if TYPE_CHECKING:\n    from lab.lab import Lab", "imports point down"),
        ("lab.nodes.build", "from . import names", "relative"),
        ("lab.nodes.vpc.plan", "from lab.nodes import fleet", "node kinds do not know each other"),
        ("lab.nodes.vpc.plan", "from lab.nodes.fleet import plan", "node kinds do not know each other"),
        ("lab.burst", "from pyroute2 import IPRoute", "only rooms that change the kernel"),
        ("lab.cli.why", "def f():\n    from lab.kernel.netns import Namespaces", "no kernel I/O of its own"),
        ("lab.burst", "from traffic.clients import client", "the lab knows specs"),
        ("lab.burst", "import traffic", "the lab knows specs"),
        ("lab.burst", "def f():\n    import typer", "only lab.cli may load it"),
        ("lab.watch.screen", "import typer", "only lab.cli may load it"),
        ("lab.burst", "from rich.text import Text", "only lab.cli and lab.watch may load it"),
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
        ("lab.nodes.build", "from lab.topology import Topology"),
        ("lab.nodes.build", "from lab.nodes import fleet, vpc"),
        ("lab.nodes.vpc.plan", "from lab.nodes import firewalls, parts"),
        ("lab.kernel.rtnl", "from pyroute2 import IPRoute"),
        ("lab.burst.ports", "from traffic.fleet import Fleet"),
        ("lab.cli.show", "import sys\nsys.stdout.write('')"),
        ("lab.watch.screen", "from rich.text import Text"),
        ("lab.cli.report", "from lab.kernel.invoker import as_invoker"),
        ("traffic.engines.scapy.codec", "def f():\n    from scapy.packet import Raw"),
    ],
)
def test_what_is_allowed(module: str, line: str) -> None:
    """The checker lets pass what points down."""
    assert violations(module, f'"""A room."""\n{line}\n', PROJECT) == []
