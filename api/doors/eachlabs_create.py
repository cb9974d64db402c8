"""How the native door reads a create, and has it admitted."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import g, request

from api import body, limits, repeats, safety, test_outcome, tracing, uploads
from api.auth import Flood
from api.services import services
from fluxfarm import admission, inputs
from fluxfarm.admission import Request as Admission
from fluxfarm.catalog import Model
from fluxfarm.errors import (
    FieldError,
    FluxfarmError,
    InvalidInput,
    Unavailable,
)
from fluxfarm.inputs import Order
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan
from fluxfarm.retries import Repeatable, Replayed
from fluxfarm.safety_policy import Ruling
from fluxfarm.sent import shortened

FIELDS = ("model", "version", "priority", "input")
PRIORITIES = ("normal", "low")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A create as its caller meant it."""

    model: Model
    order: Order
    ruling: Ruling
    low_priority: bool
    retention_seconds: int | None
    cancel_after_seconds: int | None
    test_outcome: str | None


@dataclass(frozen=True, slots=True)
class Created:
    """What came of a create."""

    id: uuid.UUID
    """What its client calls it."""
    row_id: uuid.UUID
    replayed: bool
    """Whether it was there before."""

    @classmethod
    def known(cls, repeatable: Repeatable | None, found: Replayed) -> "Created":
        return cls(found.id, (repeatable.row_id if repeatable else None) or found.id, replayed=True)


def create(caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None = None) -> Created:
    """Admit a create, or find what came of it when it was sent before."""
    repeatable, wrong = _repeatable(caller, sent, own_id)
    until = time.monotonic() + repeats.LONGEST_WAIT_SECONDS
    with services().under_way.alone(repeatable, until):
        known = services().creates.replay(repeatable) if repeatable else None
        if known is not None:
            return Created.known(repeatable, known)
        return _admit(caller, read(caller, sent, wrong), repeatable, until)


def again(caller: Caller, own_id: Callable[[], uuid.UUID | None], flood: Flood) -> Created:
    """What came of a create that was sent before, by a key whose creates are all refused for now.

    Raises:
        RateLimited: it was not, or far too many were.

    """
    if "dry_run" in request.args or not (request.method == "PUT" or repeats.HEADER in request.headers):
        raise flood.refusal()
    # Each is counted, found or not, before it is read: else these were the free flood.
    services().authenticator.count_replay(caller)
    repeatable, _ = _repeatable(caller, body.json_object(request), own_id())
    known = services().creates.replay(repeatable) if repeatable else None
    if known is None:
        raise flood.refusal()
    return Created.known(repeatable, known)


def check(caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None = None) -> Asked:
    """Read a create that shall only be looked at; raises what creating would, but for what limits say."""
    repeatable, wrong = _repeatable(caller, sent, own_id)
    known = services().creates.replay(repeatable) if repeatable else None
    asked = read(caller, sent, wrong)
    admission.check_model(caller, asked.model.slug)
    if known is None:
        with services().database.read_scope() as connection:
            admission.check_tenant(connection, caller)
    return asked


def _repeatable(
    caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None
) -> tuple[Repeatable | None, Sequence[FieldError]]:
    """By what it is known again, or what is wrong with that, to be told beside all else."""
    try:
        return repeats.repeatable(request, caller, sent, own_id), ()
    except InvalidInput as refusal:
        if not refusal.details:
            raise
        return None, refusal.details


def read(caller: Caller, sent: dict[str, Any], found_wrong: Sequence[FieldError] = ()) -> Asked:
    """Read a create, of a caller who may ask for it.

    Raises:
        InvalidInput: with all that is wrong with it, and what was found wrong before.
        SafetyCheckerRequired: the pictures may not go unchecked.

    """
    wrong = [*_wrong_fields(sent), *found_wrong]

    def tried(part: Callable[[], T]) -> T | None:
        try:
            return part()
        except InvalidInput as refusal:
            wrong.extend(refusal.details)
            return None

    slug, wanted, order, outcome = sent.get("model"), None, None, None
    if isinstance(slug, str) and slug:
        wanted = model = services().catalog.model(slug)
        order = tried(lambda: inputs.parse(model, sent.get("input")))
        outcome = tried(lambda: test_outcome.wanted(request, model))
    kept = tried(lambda: body.retention_seconds(request))
    deadline = tried(lambda: body.cancel_after_seconds(request))
    if wrong or wanted is None or order is None:
        raise body.invalid(wrong)
    ruling = safety.ruling(caller, wanted, order, "input.disable_safety_checker")
    return Asked(wanted, order, ruling, sent.get("priority") == "low", kept, deadline, outcome)


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


def _admit(caller: Caller, asked: Asked, repeatable: Repeatable | None, until: float) -> Created:
    """Pictures first, since no transaction is held over storage; what does not need them takes them away again."""
    prediction = (repeatable.row_id if repeatable else None) or uuid.uuid4()
    kept = uploads.keep(services(), caller, prediction, asked.order.pictures)
    asking = Admission(
        id=prediction,
        caller=caller,
        model=asked.model,
        plan=Plan.of(asked.order, kept=kept, ruling=asked.ruling, test_outcome=asked.test_outcome),
        shown_input=asked.order.echo,
        request_id=g.request_id,
        traceparent=tracing.traceparent(request),
        low_priority=asked.low_priority,
        retention_seconds=asked.retention_seconds,
        cancel_after_seconds=asked.cancel_after_seconds,
        repeatable=repeatable,
    )
    try:
        verdict = services().creates.admit(asking, until)
    except Unavailable:
        raise  # the prediction may be there all the same
    except FluxfarmError:
        _discard(kept)
        raise
    if isinstance(verdict, Replayed):
        _discard(kept)
        return Created.known(repeatable, verdict)
    limits.tell(verdict)
    return Created((repeatable.own_id if repeatable else None) or prediction, prediction, replayed=False)


def _discard(kept: Mapping[str, str]) -> None:
    for key in kept.values():
        # It is noted: maintenance deletes it once the store is back.
        with suppress(Unavailable):
            services().objects.delete(key)
