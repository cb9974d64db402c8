"""Which LoRAs a farm offers with a model, and how a prediction asks for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from fluxfarm.errors import SettingsError
from fluxfarm.kinds import Kind

MOST: Final = 4
"""That one prediction may combine."""
KINDS: Final = frozenset({Kind.TEXT, Kind.FILL, Kind.KONTEXT, Kind.CONTROL})
"""Of models that take any."""
FILE: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")
"""What a file in the operator's directory is called."""
SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Origin(StrEnum):
    """Where a LoRA comes from; also the name of the field that says it."""

    URL = "url"
    FILE = "file"
    NAME = "name"


class Allowed(StrEnum):
    """Which ones callers may ask for."""

    ANY = "any"
    NAMED = "named"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AskedLora:
    """One that a prediction asks for."""

    origin: Origin
    where: str
    scale: float
    """From -1 to 3; 1 is as it was trained."""
    sha256: str | None = None
    """Of the file, if it may be no other."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(Origin(stored["origin"]), stored["where"], stored["scale"], stored.get("sha256"))


@dataclass(frozen=True, slots=True)
class NamedLora:
    """An operator's entry in the catalogue, `[loras.NAME]`."""

    name: str
    location: str
    """A file; one beside the catalogue begins with `./`."""
    beside: Path
    models: tuple[str, ...] = ()
    """That it is for; none named: all that take any."""
    sha256: str | None = None
    """Of the file, if it may be no other."""

    def __post_init__(self) -> None:
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits in lower case")

    @property
    def path(self) -> Path:
        return self.beside / Path(self.location)


@dataclass(frozen=True, slots=True)
class Offered:
    """What callers of one model may ask for."""

    allowed: Allowed = Allowed.NONE
    named: tuple[NamedLora, ...] = ()
    directory: Path | None = None

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where from; empty: the model takes none."""
        if self.allowed is Allowed.NONE:
            return ()
        there = {
            Origin.URL: self.allowed is Allowed.ANY,
            Origin.FILE: self.directory is not None,
            Origin.NAME: bool(self.named),
        }
        return tuple(origin for origin, offered in there.items() if offered)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(each.name for each in self.named))

    def entry(self, name: str) -> NamedLora | None:
        """The one of that name, if it is offered."""
        return next((each for each in self.named if each.name == name), None)


def named_loras(entries: Mapping[str, Mapping[str, Any]]) -> tuple[NamedLora, ...]:
    """Read a catalogue's; raises `SettingsError` where one is not as it should be."""
    found = []
    for name, entry in entries.items():
        try:
            found.append(NamedLora(name=name, **{**entry, "models": tuple(entry.get("models", ()))}))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"the catalogue's LoRA {name!r} cannot be read: {error}") from error
    return tuple(found)
