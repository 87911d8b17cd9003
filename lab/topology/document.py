"""A YAML text as plain values that know their place.

The text is read at the level of ruamel.yaml's nodes: each carries its line and column, and none can name a
Python object. A duplicate key is one fault among the others instead of the end of the reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import re
from typing import TYPE_CHECKING, TypeAlias
import warnings

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import RoundTripScanner, ScannerError

from lab.schema.faults import Fault, Path, Place
from lab.schema.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ruamel.yaml.nodes import Node
    from ruamel.yaml.tokens import Token

__all__ = ["Document", "Unreadable", "Value", "read"]

MOST_VALUES = 100_000
"""A topology has hundreds of values; aliases of aliases could stand for billions."""

DEEPEST = 40
"""A topology is five levels deep; the limit keeps nonsense from exhausting Python's stack."""

START = Place(1, 1)

_TOO_DEEP = "it is nested too deeply"

_TABBED = re.compile(r"[^\S\n]*\t|.*\t[^\S\n]*$", re.MULTILINE)
"""A tab before the first word of a line or after the last."""

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"


class Unreadable(Exception):  # noqa: N818 - it names what the text is
    """The text is not one YAML document; nothing more can be said about it."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place


@dataclass(frozen=True, slots=True)
class Document:
    """The value, where each of its parts and keys stands, and the faults of the YAML itself."""

    value: Value
    values: Mapping[Path, Place]
    keys: Mapping[Path, Place]
    faults: tuple[Fault, ...]

    def place_of(self, fault: Fault) -> Place:
        """Where the fault is; when its path is missing from the file, the nearest part around it."""
        if fault.place:
            return fault.place
        if fault.at_key and fault.path in self.keys:
            return self.keys[fault.path]
        around = (fault.path[:length] for length in range(len(fault.path), -1, -1))
        return next((self.values[path] for path in around if path in self.values), START)


def read(text: str) -> Document:
    """The document in a YAML text; raises `Unreadable`."""
    root = _compose(text)
    walk = _Walk()
    value = None if root is None else walk.value(root, ())
    return Document(value, walk.values, walk.keys, tuple(walk.faults))


def _compose(text: str) -> Node | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            node: Node | None = _yaml().compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else START
        raise Unreadable(place, _complaint(error, text)) from None
    except ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Unreadable(place, f"the character {text[error.position]!r} is not allowed") from None
    except RecursionError:
        raise Unreadable(START, _TOO_DEEP) from None
    except YAMLError as error:
        raise Unreadable(START, " ".join(str(error).split())) from None
    return node


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.Scanner = _Scanner
    return yaml


class _Scanner(RoundTripScanner):
    """Ends where brackets are too deep: for each token YAML's own looks at every bracket that is open."""

    def fetch_flow_collection_start(self, token: type[Token], to_push: str) -> None:
        """Note a bracket that opens."""
        if len(self.flow_context) > DEEPEST:
            raise ScannerError(None, None, _TOO_DEEP, self.reader.get_mark())
        super().fetch_flow_collection_start(token, to_push)


def _complaint(error: MarkedYAMLError, text: str) -> str:
    """`but found another document` needs what it answers; `while scanning …` only says where."""
    if (mark := error.problem_mark) and _TABBED.match(text, mark.index - mark.column):
        return "this line has a tab where YAML wants spaces: use spaces"
    problem, context = error.problem or "not YAML", error.context or ""
    return f"{context}, {problem}" if problem.startswith("but ") else problem


@dataclass(slots=True)
class _Walk:
    """One walk over a node tree, noting places and faults on the way."""

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def value(self, node: Node, path: Path) -> Value:
        self.values[path] = _place(node)
        if len(path) > DEEPEST:
            raise Unreadable(_place(node), f"it is more than {DEEPEST} levels deep (does an alias hold itself?)")
        if len(self.values) > MOST_VALUES:
            raise Unreadable(_place(node), f"its aliases stand for more than {MOST_VALUES:,} values")
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> Value:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise Unreadable(_place(key_node), "this key is a list or a mapping, not a word")
            key = _text(key_node)
            inner = (*path, key)
            if inner in self.keys:
                self.faults.append(_duplicate(inner, _place(key_node), self.keys[inner]))
                continue
            self.keys[inner] = _place(key_node)
            result[key] = self.value(value_node, inner)
            if _is_unwritten(value_node):
                self.values[inner] = self.keys[inner]
        return result


def _is_unwritten(node: Node) -> bool:
    """`key:` and nothing after it: the reader places that where the next word begins, lines further down."""
    return isinstance(node, ScalarNode) and node.style is None and not node.value


def _duplicate(path: Path, place: Place, first: Place) -> Fault:
    text = f"the key {shown(path[-1])} is already on line {first.line}; each key can be given once"
    return Fault(path, text, place=place)


def _text(node: Node) -> str:
    text = str(node.value)
    if any("\ud800" <= character <= "\udfff" for character in text):  # "\ud83d": JSON's way, not YAML's
        raise Unreadable(_place(node), "half a character (a surrogate) is escaped")
    return text


def _place(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _truth(text: str) -> bool:
    return text.lower() == "true"


def _whole(text: str) -> int:
    return int(text.replace("_", ""))


def _nothing(_: str) -> None:
    return None


_SCALARS: Mapping[str, Callable[[str], Value]] = {
    "tag:yaml.org,2002:bool": _truth,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:int": _whole,
    "tag:yaml.org,2002:null": _nothing,
}


def _scalar(node: Node) -> Value:
    """The scalar as YAML 1.2 means it; what has a tag of another kind, such as a date, stays text."""
    text = _text(node)
    try:
        return _SCALARS.get(str(node.tag), str)(text)
    except ValueError:  # 0x1f, or a number too long for Python: let the field say what it wants
        return text
