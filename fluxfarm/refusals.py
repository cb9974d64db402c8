"""How a refused input is told of: every wrong field by its dotted name, and what is allowed."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.sent import shortened

_MOST_UNKNOWN: Final = 20
"""Unknown fields that a refusal names; a body may hold a million, and looking for near names takes time."""
_MOST_SUMMED_UP: Final = 3
_SAYS_NOTHING_BLANK: Final = "negative_prompt"
"""A field that is blank by default elsewhere: who sends every field sends it to models that have none, too."""


def invalid(wrong: Sequence[FieldError]) -> InvalidInput:
    """One refusal of all these fields; its message sums up the first of them."""
    told = [f"{each.field}: {each.message}" for each in wrong[:_MOST_SUMMED_UP]]
    more = len(wrong) - len(told)
    return InvalidInput("; ".join(told) + (f"; and {more} more" if more else ""), details=tuple(wrong))


def wrong_field(place: str, name: str, message: str, sent: Any) -> FieldError:
    """One field of the object at `place` in the body, which is the body itself where that is empty."""
    return FieldError(f"{place}.{name}" if place else name, message, shortened(sent))


def no_object(place: str, sent: Any) -> InvalidInput:
    """What was sent holds no fields at all."""
    return invalid([FieldError(place or "body", "must be a JSON object of fields", shortened(sent))])


def unknown_fields(place: str, sent: Mapping[str, Any], names: Sequence[str]) -> Iterable[FieldError]:
    """Those that were sent and are none of these; but for a negative prompt that is blank, which is none."""
    unknown = [name for name in sent if name not in names and not _says_nothing(name, sent[name])]
    for name in islice(unknown, _MOST_UNKNOWN):
        near = difflib.get_close_matches(name[:100], names, n=1)
        known = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(names)}"
        yield wrong_field(place, str(shortened(name)), f"is not a field of this model; {known}", sent[name])
    more = len(unknown) - _MOST_UNKNOWN
    if more > 0:
        yield FieldError(place or "body", f"has {more} more fields that this model does not have")


def _says_nothing(name: str, value: Any) -> bool:
    return name == _SAYS_NOTHING_BLANK and (value is None or (isinstance(value, str) and not value.strip()))
