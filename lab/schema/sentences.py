"""Pydantic's findings as sentences: what the value is, then the field's description of what is allowed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from lab.schema.base import Model
from lab.schema.faults import Fault, Path
from lab.schema.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

__all__ = ["did_you_mean", "faults_of"]


def faults_of(error: ValidationError, root: type[Model]) -> tuple[Fault, ...]:
    """The faults that pydantic found in a value that should be a `root`."""
    return tuple(_fault(one, root) for one in error.errors(include_url=False) if not _is_echo(one))


def _is_echo(error: ErrorDetails) -> bool:
    """Pydantic calls a list too short when its items are faulty; the items say so themselves."""
    return error["type"] == "too_short" and bool(error["input"])


def _fault(error: ErrorDetails, root: type[Model]) -> Fault:
    path: Path = error["loc"]
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, root)
    what = _WHAT.get(error["type"], _other)(error)
    return Fault(path, f"{what}; {_allowed(path, root)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word comes close."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {shown(close[0])}?)" if close else ""


def _unknown_key(path: Path, root: type[Model]) -> Fault:
    key, model = str(path[-1]), _model_at(path[:-1], root)
    known = [field.alias or name for name, field in model.model_fields.items()]
    reason = model.NOT_EMULATED.get(key)
    what = f"not emulated, for {reason}" if reason else f"unknown key{did_you_mean(key, known)}"
    text = f"{what}; the keys here are {', '.join(known)}"
    return Fault(path, text, at_key=True)


# ── What ────────────────────────────────────────────────────────────────────────────────────────────────────


def _bound(word: str, limit: str) -> Callable[[ErrorDetails], str]:
    return lambda error: f"{shown(error['input'])} is {word} than {error['ctx'][limit]}"


def _is_not(kind: str) -> Callable[[ErrorDetails], str]:
    def sentence(error: ErrorDetails) -> str:
        value = error["input"]
        return f"{kind} is missing" if value is None else f"{shown(value)} is not {kind}"

    return sentence


def _too_long(error: ErrorDetails) -> str:
    return f"{error['ctx']['actual_length']} items are too many"


def _own(error: ErrorDetails) -> str:
    return str(error["ctx"]["error"])


def _other(error: ErrorDetails) -> str:
    return f"{shown(error['input'])} is not allowed ({error['msg']})"


_WHAT: Mapping[str, Callable[[ErrorDetails], str]] = {
    "bool_type": _is_not("true or false"),
    "greater_than_equal": _bound("less", "ge"),
    "int_type": _is_not("a whole number"),
    "less_than_equal": _bound("more", "le"),
    "literal_error": lambda error: f"{shown(error['input'])} is not {error['ctx']['expected']}",
    "missing": lambda _: "missing",
    "model_type": _is_not("a mapping"),
    "string_type": _is_not("text"),
    "too_long": _too_long,
    "too_short": lambda _: "the list is empty",
    "tuple_type": _is_not("a list"),
    "value_error": _own,
}


# ── What is allowed ─────────────────────────────────────────────────────────────────────────────────────────


def _allowed(path: Path, root: type[Model]) -> str:
    field = _field_at(path, root)
    if field is None:
        keys = [known.alias or name for name, known in root.model_fields.items()]
        return f"a topology is a mapping of {', '.join(keys)}"
    return field.description or ""


def _field_at(path: Path, root: type[Model]) -> FieldInfo | None:
    """The innermost field around a path; None for the whole topology."""
    field, model = None, root
    for step in path:
        if isinstance(step, str):
            field = next((known for name, known in model.model_fields.items() if step in (known.alias, name)), field)
            model = _model_in(field.annotation if field else None) or model
    return field


def _model_at(path: Path, root: type[Model]) -> type[Model]:
    field = _field_at(path, root)
    return (_model_in(field.annotation) if field else None) or root


def _model_in(annotation: Any) -> type[Model] | None:
    """`Vpc` in `Vpc`, `Subnet` in `tuple[Subnet, ...]`, nothing in `int`."""
    candidates = (annotation, *get_args(annotation))
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, Model)), None)
