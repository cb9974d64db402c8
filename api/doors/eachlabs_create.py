"""How the native door reads a create."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from api import asked, creating
from api.asked import Asked
from api.creating import Created
from api.doors import eachlabs_again
from api.services import services
from fluxfarm import admission
from fluxfarm.dialects import Dialect
from fluxfarm.errors import FieldError
from fluxfarm.keys import Caller
from fluxfarm.sent import shortened

DIALECT: Final = Dialect.read(Path(__file__).with_name("eachlabs.toml"))
FIELDS: Final = ("model", "version", "priority", "input")
PRIORITIES: Final = ("normal", "low")
OF_ALL_DOORS: Final = Dialect(place=DIALECT.place)
"""What is asked for again may have come by a door that takes more."""


def create(
    caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None = None, of: uuid.UUID | None = None
) -> Created:
    """Admit a create, of what `of` was or of what was sent, or find what came of it when it was sent before."""
    return creating.create(caller, sent, lambda wrong: _read(caller, sent, of, wrong), own_id)


def check(caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None = None, of: uuid.UUID | None = None) -> Asked:
    """Read a create that shall only be looked at; raises what creating would, but for what limits say."""
    repeatable, wrong = creating.known_by(caller, sent, own_id)
    known = services().creates.replay(repeatable) if repeatable else None
    found = _read(caller, sent, of, wrong)
    admission.check_model(caller, found.model.slug)
    if known is None:
        with services().database.read_scope() as connection:
            admission.check_tenant(connection, caller)
    return found


def _read(caller: Caller, sent: dict[str, Any], of: uuid.UUID | None, found_wrong: Sequence[FieldError]) -> Asked:
    """Read a create, of a caller who may ask for it; raises as `asked.read` does."""
    whole, dialect = (eachlabs_again.asked(caller, of, sent), OF_ALL_DOORS) if of else (sent, DIALECT)
    wrong, low = [*_wrong_fields(whole), *found_wrong], whole.get("priority") == "low"
    return asked.read(caller, whole.get("model"), whole.get("input"), dialect, wrong, low_priority=low)


def _wrong_fields(sent: dict[str, Any]) -> list[FieldError]:
    wrong = [
        FieldError(shortened(name), f"is not a field here; fields are {', '.join(FIELDS)}", shortened(sent[name]))
        for name in list(sent)[:20]
        if name not in FIELDS
    ]
    slug = sent.get("model")
    if not isinstance(slug, str) or not slug:
        wrong.append(FieldError("model", "is required: the name of a model, such as flux-dev", shortened(slug)))
    if not isinstance(sent.get("version", ""), str | None):
        wrong.append(FieldError("version", "must be text or left out", shortened(sent["version"])))
    if sent.get("priority") not in (None, *PRIORITIES):
        wrong.append(FieldError("priority", "must be normal or low, or left out", shortened(sent["priority"])))
    return wrong
