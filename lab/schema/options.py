"""Options of a command, each declared in the field that it fills: of the command line, of Python, and of records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from lab.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Option", "options_of", "require_within_bounds"]

T = TypeVar("T")

_METADATA_KEY = "option"


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's name, type and default do not say about it."""

    flag: str
    """On the command line; the second of two, after a slash, means no."""
    help: str
    metavar: str | None = None
    panel: str | None = None
    """The panel of the command's help that lists it; None: the first."""
    parse: Callable[[str], Any] | None = None
    """Makes the value out of a word on the command line, where the field's type does not."""
    fits: Callable[[Any], bool] = lambda _: True
    """Whether a value that is given is within bounds."""
    allowed: str = ""
    """The bounds in words, for the message that refuses a value."""
    repeats: bool = False
    """Whether it may be given several times; its value is one, or a tuple."""
    for_generator: bool = False
    """Whether the generator is told it as it is, in the field of this name (traffic.spec.BurstSpec)."""
    fact: Callable[[Any], str | None] = lambda _: None
    """What a report says about it, if anything."""

    @property
    def name(self) -> str:
        """The field's name as messages and recorded commands have it."""
        return self.flag.split("/")[0]

    def by_default(self, default: T) -> T:
        """The field of a dataclass that is declared so; its type is its default's, as a type checker sees it."""
        return field(default=default, metadata=self.metadata)

    @property
    def metadata(self) -> dict[str, Option]:
        """The `metadata` argument of `dataclasses.field` for a field with this option."""
        return {_METADATA_KEY: self}


def options_of(asked: type[DataclassInstance]) -> dict[str, Option]:
    """Field → its option, in the order in which the fields are declared."""
    return {each.name: each.metadata[_METADATA_KEY] for each in fields(asked) if _METADATA_KEY in each.metadata}


def require_within_bounds(asked: DataclassInstance) -> None:
    """UsageError for the first value that its option does not allow."""
    for name, option in options_of(type(asked)).items():
        value = getattr(asked, name)
        if value is not None and not option.fits(value):
            raise UsageError(f"{option.name} {value}: {option.allowed}")
