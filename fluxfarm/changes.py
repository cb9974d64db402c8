"""Changes to tenants and keys, as an operator sends them: read by the fields declared for each, all errors at once."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.fields import Field, RefusedError, Text
from fluxfarm.sent import shortened, shown


@dataclass(frozen=True, slots=True)
class Words:
    """A list of words; with `known`, only those."""

    known: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        return f"a list of {', '.join(self.known)}" if self.known else "a list of names"

    def read(self, sent: Any) -> list[str]:
        if not isinstance(sent, list) or not all(isinstance(each, str) and each for each in sent):
            raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")
        if self.known and (unknown := sorted(set(sent) - set(self.known))):
            raise RefusedError(f"must be {self.allowed}, not {shown(unknown[0])}")
        return [Text(100).read(each) for each in dict.fromkeys(sent)]

    def schema(self) -> dict[str, Any]:
        items = {"type": "string"} | ({"enum": [*self.known]} if self.known else {})
        return {"type": "array", "items": items}


@dataclass(frozen=True, slots=True)
class Name:
    """A name that can stand in a path."""

    @property
    def allowed(self) -> str:
        return "a name of 1 to 100 characters, without slashes"

    def read(self, sent: Any) -> str:
        name = Text(100).read(sent)
        if "/" in name or not name.isprintable():
            raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")
        return name

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^/]+$"}


def read_changes(fields: Iterable[Field], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields that were sent; null stands for a field's default.

    Raises:
        InvalidInput: a field is unknown or its value is not allowed; `details` name every one.

    """
    known = {field.name: field for field in fields}
    values: dict[str, Any] = {}
    wrong: list[FieldError] = []
    for name, value in sent.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; fields are {', '.join(known)}"
            wrong.append(FieldError(shortened(name), f"is not a field here{hint}", shortened(value)))
            continue
        try:
            values[name] = known[name].read(value)
        except RefusedError as refused:
            wrong.append(FieldError(name, str(refused), shortened(value)))
    if wrong:
        raise InvalidInput("; ".join(f"{each.field}: {each.message}" for each in wrong), details=tuple(wrong))
    return values
