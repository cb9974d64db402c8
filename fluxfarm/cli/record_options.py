"""Options made from the fields that tenants and keys are declared with, so that no command lists them again."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from fluxfarm.changes import Words
from fluxfarm.fields import Field, Number, Whole


class Sent(click.ParamType[Any]):
    """A value as it would stand in JSON: a number, a list after commas, text; `none` is null."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.name = {Words: "a,b", Number: "number", Whole: "number"}.get(type(field.kind), "text")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        del param, ctx
        if value == "none":
            return Null
        if isinstance(self._field.kind, Words):
            return [word.strip() for word in str(value).split(",") if word.strip()]
        return value


class Null:
    """Stands for null where None means that an option was not given."""


def options(fields: Iterable[Field]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option per field, by its name with dashes."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for field in reversed(list(fields)):
            default = "" if field.default is None else f"  [default: {_shown(field.default)}]"
            name = f"--{field.name.replace('_', '-')}"
            command = click.option(name, field.name, type=Sent(field), help=field.description + default)(command)
        return command

    return decorate


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as they would stand in JSON."""
    return {name: None if value is Null else value for name, value in values.items() if value is not None}


def _shown(default: Any) -> str:
    return ",".join(default) if isinstance(default, list) else json.dumps(default).strip('"')
