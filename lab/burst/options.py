"""What follows from the declarations of `lab.burst.load`, whichever options there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
import inspect
from typing import Any, Concatenate, ParamSpec, TypeVar

from lab.burst.load import OPTIONS, Load

__all__ = ["arguments", "differences", "facts_of", "for_generator", "takes_keywords_of"]

P = ParamSpec("P")
Owner = TypeVar("Owner")
Asked = TypeVar("Asked")
Result = TypeVar("Result")

_FACTS_IN_FRONT = (
    "connections", "protocol", "engine", "syn_only", "reuse", "requests_per_connection", "hold_s", "leave_open"
)  # fmt: skip
"""What a report says first; whatever else it says follows in the order of `OPTIONS`."""


def takes_keywords_of(
    make: Callable[P, Asked],
) -> Callable[[Callable[[Owner, Asked], Result]], Callable[Concatenate[Owner, P], Result]]:
    """A method of one argument becomes one that takes the parameters with which that argument is made.

    Type checkers and `help` see each of them, with its type and default.
    """

    def spelled_out(method: Callable[[Owner, Asked], Result]) -> Callable[Concatenate[Owner, P], Result]:
        @wraps(method)
        def call(self: Owner, /, *args: P.args, **keywords: P.kwargs) -> Result:
            return method(self, make(*args, **keywords))

        own, made_from = inspect.signature(method), inspect.signature(make)
        receiver, _ = own.parameters.values()
        call.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[receiver, *made_from.parameters.values()]
        )
        return call

    return spelled_out


def arguments(load: Load) -> tuple[str, ...]:
    """The words after `lab burst` that ask for this load: what it says beyond the defaults."""
    default, words = Load(load.connections), [OPTIONS["connections"].name, str(load.connections)]
    for option, _, value in differences(default, load):
        for each in value if isinstance(value, tuple) else (value,):
            words += [option] if each is True else [option, str(each).removesuffix(".0")]
    return tuple(words)


def differences(one: Load, other: Load) -> tuple[tuple[str, Any, Any], ...]:
    """Options in which two loads differ, each with its value in both."""
    values = ((option.name, getattr(one, field), getattr(other, field)) for field, option in OPTIONS.items())
    return tuple((name, before, after) for name, before, after in values if before != after)


def facts_of(load: Load) -> tuple[str, ...]:
    """What was asked of the fleet, in a few words each."""
    in_order = {field: OPTIONS[field] for field in _FACTS_IN_FRONT} | OPTIONS
    return tuple(fact for option in in_order.values() if (fact := option.fact(load)))


def for_generator(load: Load) -> dict[str, Any]:
    """Values of the fields of `traffic.spec.BurstSpec` that are called, and mean, the same."""
    return {field: getattr(load, field) for field, option in OPTIONS.items() if option.for_generator}
