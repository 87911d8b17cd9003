"""Options of the command line out of the fields that declare them (`lab.schema.options`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lab.cli.options import count
from lab.schema.options import Option, options_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["declared_by"]

_COUNT = "-n"


def declared_by(
    asked: type[DataclassInstance], own_after: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put every field into the signature of a command, where typer looks for them, in place of `**options`.

    The command's own parameters keep their places: some come after a field, as `own_after` says, the rest at the end.
    """

    def put(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(signature(command, eval_str=True).parameters)
        del own["options"]
        parameters, options = [], options_of(asked)
        for name, type_ in get_type_hints(asked).items():
            parameters.append(_parameter(name, type_, options[name], asked.__dataclass_fields__[name].default))
            if name in own_after:
                parameters.append(own.pop(own_after[name]))
        command.__signature__ = Signature([*parameters, *own.values()])  # type: ignore[attr-defined]
        return command

    return put


def _parameter(name: str, type_: Any, option: Option, default: Any) -> Parameter:
    """One whose flag has no dash is an argument, with its place in the command."""
    if not option.flag.startswith("-"):
        argument = typer.Argument(help=option.help, metavar=option.flag)
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, argument])
    declared = typer.Option(
        option.flag,
        help=option.help,
        metavar=option.metavar,
        rich_help_panel=option.panel,
        parser=count if option.flag == _COUNT else option.parse,
    )
    return Parameter(
        name,
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if default is MISSING else default,
        annotation=Annotated[list[str] | None if option.repeats else type_, declared],
    )
