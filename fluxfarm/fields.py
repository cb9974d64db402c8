"""The kinds of field that an input may have: each reads what was sent and describes itself as JSON Schema."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fluxfarm.sent import shown

_DECIMAL = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_WHOLE_DECIMAL = re.compile(r"-?[0-9]{1,30}(?:\.0{1,30})?")
_TEXT = r"^\s*[^\s\u0000][^\u0000]*$"
_PERHAPS_BLANK = r"^[^\u0000]*$"


class RefusedError(Exception):
    """A value is not allowed; the text says what is."""


class Kind(Protocol):
    @property
    def allowed(self) -> str:
        """What is allowed, as it ends the sentence "it must be …"."""

    def read(self, sent: Any) -> Any:
        """The value meant by what was sent, which is not null; raises `RefusedError`."""

    def schema(self) -> dict[str, Any]:
        """What `read` takes in its canonical form."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field, declared once. An optional one is its default where it is left out or null."""

    name: str
    kind: Kind
    description: str
    default: Any = None
    example: Any = None
    required: bool = False

    def read(self, sent: Any) -> Any:
        if sent is not None:
            return self.kind.read(sent)
        if self.required:
            raise RefusedError(f"is required: {self.kind.allowed}")
        return self.default

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema; null is part of it where null is the default."""
        described = self.kind.schema()
        if self.required:
            rest = {}
        elif self.default is not None:
            rest = {"default": self.default}
        else:
            described["type"] = [described["type"], "null"]
            rest = {"default": None} | ({"enum": [*described["enum"], None]} if "enum" in described else {})
        example = self.default if self.example is None else self.example
        return described | rest | {"description": self.description, "examples": [example]}


@dataclass(frozen=True, slots=True)
class Text:
    longest: int

    @property
    def allowed(self) -> str:
        return f"text of 1 to {self.longest} characters"

    def read(self, sent: Any) -> str:
        if isinstance(sent, str) and not sent.strip():
            raise RefusedError(f"must be {self.allowed}, not blank")
        return _words(sent, self.longest, self.allowed)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": _TEXT}


@dataclass(frozen=True, slots=True)
class OptionalText:
    """Text that may be blank, which means none."""

    longest: int

    @property
    def allowed(self) -> str:
        return f"text of up to {self.longest} characters"

    def read(self, sent: Any) -> str | None:
        read = _words(sent, self.longest, self.allowed)
        return read if read.strip() else None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.longest, "pattern": _PERHAPS_BLANK}


@dataclass(frozen=True, slots=True)
class Number:
    minimum: float
    maximum: float

    @property
    def allowed(self) -> str:
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def read(self, sent: Any) -> float:
        value = float(sent) if isinstance(sent, str) and _DECIMAL.fullmatch(sent) else sent
        if not is_number(value) or not self.minimum <= value <= self.maximum:
            raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")
        return float(value) + 0.0  # -0.0 becomes 0.0

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Whole:
    minimum: int
    maximum: int
    step: int = 1

    @property
    def allowed(self) -> str:
        if self.minimum == self.maximum:
            return str(self.minimum)
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return f"a whole number from {self.minimum} to {self.maximum}{steps}"

    def read(self, sent: Any) -> int:
        value = whole_number(sent)
        if value is None or not self.minimum <= value <= self.maximum or value % self.step:
            raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")
        return value

    def schema(self) -> dict[str, Any]:
        steps = {"multipleOf": self.step} if self.step > 1 else {}
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum} | steps


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words, in any case; `also` are other spellings, as text or as numbers."""

    words: tuple[str, ...]
    also: Mapping[str | float, str] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.words)}"

    def read(self, sent: Any) -> str:
        key = sent.lower() if isinstance(sent, str) else sent
        if isinstance(key, str) and key in self.words:
            return key
        if (isinstance(key, str) or is_number(key)) and key in self.also:
            return self.also[key]
        raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [*self.words]}


@dataclass(frozen=True, slots=True)
class Flag:
    @property
    def allowed(self) -> str:
        return "true or false as a JSON boolean"

    def read(self, sent: Any) -> bool:
        if not isinstance(sent, bool):
            raise RefusedError(f"must be {self.allowed}, not {shown(sent)}")
        return sent

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


def _words(sent: Any, longest: int, allowed: str) -> str:
    if not isinstance(sent, str):
        raise RefusedError(f"must be {allowed}")
    if len(sent) > longest:
        raise RefusedError(f"must be {allowed}; it has {len(sent)}")
    if "\0" in sent:
        raise RefusedError("must not contain NUL characters")
    return whole_characters(sent)


def given(**described: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema: all of these fields are there, and as described."""
    return {"properties": described, "required": [*described]}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole_number(sent: Any) -> int | None:
    """The whole number meant by JSON's 28 or 28.0, or by text of the same form."""
    if isinstance(sent, str):
        return int(sent.partition(".")[0]) if _WHOLE_DECIMAL.fullmatch(sent) else None
    if isinstance(sent, float):
        return int(sent) if sent.is_integer() else None
    return sent if is_number(sent) else None


def whole_characters(sent: str) -> str:
    """The text itself; refused where it holds half of a surrogate pair, which nothing can store or send on."""
    try:
        sent.encode()
    except UnicodeEncodeError:
        raise RefusedError("must be valid Unicode; it contains half of a surrogate pair") from None
    return sent
