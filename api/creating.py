"""How every door has a create admitted, or finds what came of it when it was sent before."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from flask import g, request

from api import body, limits, repeats, tracing, uploads
from api.asked import Asked
from api.auth import Flood
from api.services import services
from fluxfarm.admission import Request as Admission
from fluxfarm.errors import FieldError, FluxfarmError, InvalidInput, Unavailable
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan
from fluxfarm.retries import Repeatable, Replayed

Read = Callable[[Sequence[FieldError]], Asked]
"""Reads a create, given what was found wrong with it before."""
ReadAll = Callable[[dict[str, Any], Sequence[FieldError]], Sequence[Asked]]
"""Reads a body that asks for one or several."""
Count = Callable[[Mapping[str, Any]], int]
"""How many a body asks for."""
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


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


class Made(NamedTuple):
    """What a call led to."""

    sent: Mapping[str, Any]
    """Its body."""
    created: Sequence[Created]


def made(caller: Caller, read: ReadAll, count: Count = lambda _: 1, path: Mapping[str, str] = NOTHING) -> Made:
    """What a call that creates leads to, with all that is counted for it: so many as `count` finds in its body.

    `path` is what its path says of what is asked for; it counts as sent in the body.

    Raises:
        RateLimited: too many creates of the key were refused, or sent again.

    """
    authenticator = services().authenticator
    if (flood := authenticator.flood(caller)) is not None:
        return again(caller, lambda: None, flood, lambda: {**body.json_object(request), **path}, count)
    with authenticator.counted_refusals(caller):
        sent = {**body.json_object(request), **path}
        created = _create_all(caller, sent, read, count(sent))
    if any(each.replayed for each in created):
        authenticator.count_replay(caller)
    return Made(sent, created)


def create(caller: Caller, sent: dict[str, Any], read: Read, own_id: uuid.UUID | None = None) -> Created:
    """Admit a create, or find what came of it when it was sent before."""
    repeatable, wrong = known_by(caller, sent, own_id)
    until = time.monotonic() + repeats.LONGEST_WAIT_SECONDS
    with services().under_way.alone(repeatable, until):
        known = services().creates.replay(repeatable) if repeatable else None
        if known is not None:
            return Created.known(repeatable, known)
        return _admit(caller, read(wrong), repeatable, until)


def again(
    caller: Caller,
    own_id: Callable[[], uuid.UUID | None],
    flood: Flood,
    read_body: Callable[[], dict[str, Any]],
    count: Count = lambda _: 1,
) -> Made:
    """What came of a create that was sent before, by a key whose creates are all refused for now.

    Raises:
        RateLimited: it was not, or far too many were.

    """
    if "dry_run" in request.args or not (request.method == "PUT" or repeats.HEADER in request.headers):
        raise flood.refusal()
    # Each is counted, found or not, before it is read: else these were the free flood.
    services().authenticator.count_replay(caller)
    sent = read_body()
    first, _ = known_by(caller, sent, own_id())
    several = repeats.several(first, count(sent))
    created = [Created.known(each, known) for each in several if each and (known := services().creates.replay(each))]
    if len(created) < len(several):
        raise flood.refusal()
    return Made(sent, created)


def known_by(
    caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None
) -> tuple[Repeatable | None, Sequence[FieldError]]:
    """By what a create is known again, or what is wrong with that, to be told beside all else."""
    try:
        return repeats.repeatable(request, caller, sent, own_id), ()
    except InvalidInput as refusal:
        if not refusal.details:
            raise
        return None, refusal.details


def _create_all(caller: Caller, sent: dict[str, Any], read: ReadAll, count: int) -> list[Created]:
    """As `create`, for a call that may make several: all of them, or none."""
    if count == 1:
        return [create(caller, sent, lambda wrong: read(sent, wrong)[0])]
    first, wrong = known_by(caller, sent, None)
    with services().under_way.alone(first, time.monotonic() + repeats.LONGEST_WAIT_SECONDS):
        repeatables = repeats.several(first, count)
        known = [services().creates.replay(each) if each else None for each in repeatables]
        found = [Created.known(None, each) for each in known if each]
        return found if len(found) == count else _admit_together(caller, read(sent, wrong), repeatables)


def _admit_together(caller: Caller, asked: Sequence[Asked], repeatables: Sequence[Repeatable | None]) -> list[Created]:
    kept: list[Mapping[str, str]] = []
    try:
        asking = []
        for each, repeatable in zip(asked, repeatables, strict=True):
            prediction = uuid.uuid4()
            kept.append(uploads.keep(services(), caller, prediction, each.order.pictures, each.dialect.called))
            asking.append(_asking(caller, each, prediction, kept[-1], repeatable))
        verdicts = services().creates.admit_together(asking)
    except Unavailable:
        raise  # they may be there all the same
    except FluxfarmError:
        for keys in kept:
            _discard(keys)
        raise
    created = []
    for admission, keys, repeatable, verdict in zip(asking, kept, repeatables, verdicts, strict=True):
        if isinstance(verdict, Replayed):
            _discard(keys)
            created.append(Created.known(repeatable, verdict))
        else:
            limits.tell(verdict)
            created.append(Created(admission.id, admission.id, replayed=False))
    return created


def _admit(caller: Caller, asked: Asked, repeatable: Repeatable | None, until: float) -> Created:
    """Pictures first, since no transaction is held over storage; what does not need them takes them away again."""
    prediction = (repeatable.row_id if repeatable else None) or uuid.uuid4()
    kept = uploads.keep(services(), caller, prediction, asked.order.pictures, asked.dialect.called)
    try:
        verdict = services().creates.admit(_asking(caller, asked, prediction, kept, repeatable), until)
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


def _asking(
    caller: Caller, asked: Asked, prediction: uuid.UUID, kept: Mapping[str, str], repeatable: Repeatable | None
) -> Admission:
    return Admission(
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


def _discard(kept: Mapping[str, str]) -> None:
    for key in kept.values():
        # It is noted: maintenance deletes it once the store is back.
        with suppress(Unavailable):
            services().objects.delete(key)
