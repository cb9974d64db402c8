"""The card of a model: what a person should know before using it, as data beside the catalogue."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxfarm.errors import SettingsError

FOLDER = "cards"
BUILT_IN = Path(__file__).with_name(FOLDER)


@dataclass(frozen=True, slots=True)
class Card:
    parameters_billions: float
    languages: tuple[str, ...]
    """Codes such as `en`, of what prompts were in when it was trained."""
    quantised: bool
    use_policy_url: str
    """Empty where there is none; so is `filters`."""
    outputs: str
    """What the pictures may be used for."""
    filters: str
    """What the licence asks of whoever deploys it."""
    good_for: tuple[str, ...]
    limitations: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    recommended: Mapping[str, str]
    example: Mapping[str, Any]
    """An input that it draws well, as it is sent."""
    parts: Mapping[str, float]
    """Billions of parameters, by what loads as one."""


def read_card(beside: Path, slug: str) -> Card | None:
    """The card of a model whose catalogue lies in this directory; None where there is none.

    Raises:
        SettingsError: it does not parse, or lacks something.

    """
    path = beside / FOLDER / f"{slug}.toml"
    if not path.is_file():
        return None
    entry = _whole(path)
    read: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    try:
        return Card(**read)
    except TypeError as error:
        raise SettingsError(f"the card {path} cannot be read: {error}") from error


def _whole(path: Path) -> dict[str, Any]:
    """With what it has of the card that it is like: of one beside it, or of one that comes with this release."""
    entry = _entry(path)
    if "like" not in entry:
        return entry
    like = path.with_name(f"{entry.pop('like')}.toml")
    beside = like.is_file() and like != path
    return {**_whole(like if beside else BUILT_IN / like.name), **entry}


def _entry(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the card {path} cannot be read: {error}") from error
