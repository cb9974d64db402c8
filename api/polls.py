"""Reads that are held until there is news: `?wait=30`, `Prefer: wait=30`, `until=change` and `since`."""

import re
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flask import Request

from api import body, links
from api.seen import AT_ONCE, Answer, Render
from api.services import services
from api.waiting import Waiter, only_the_end, what_the_row_shows
from fluxfarm.errors import FieldError
from fluxfarm.sent import shortened

LONGEST_WAIT_SECONDS = 60
DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)
PREFERENCE = re.compile(r"""\s*wait\s*(?:=\s*"?([0-9]{1,9})"?\s*)?(?:;.*)?""", re.ASCII | re.IGNORECASE)
ETAG = re.compile(r'(?:W/)?"?([^"]*)"?')
UNTIL = ("end", "change")


@dataclass(frozen=True, slots=True)
class Wish:
    """How long a call may be held, and for what."""

    seconds: int = 0
    any_change: bool = False
    since: str | None = None
    """The ETag that its caller has."""


@dataclass(frozen=True, slots=True)
class Looked:
    answer: Answer
    waited: bool
    """It was held, or would have been: its caller waits by such calls, and may come back at once."""


def wish(request: Request) -> Wish:
    """What a read asks for; raises `InvalidInput` if that makes no sense."""
    until = request.args.get("until", "end")
    if until not in UNTIL:
        raise body.invalid([FieldError("until", f"must be {' or '.join(UNTIL)}", shortened(until))])
    return Wish(wait_seconds(request, unsaid=0), until == "change", _since(request))


def wait_seconds(request: Request, *, unsaid: int) -> int:
    """From the query, else the header `Prefer`; what cannot be read of the latter is ignored, as RFC 7240 has it.

    Raises:
        InvalidInput: what the query says is no number of seconds.

    """
    sent = request.args.get("wait")
    if sent is None:
        preferred = preferred_seconds(request)
        return unsaid if preferred is None else preferred
    if not DIGITS.fullmatch(sent):
        message = f"must be whole seconds from 0 to {LONGEST_WAIT_SECONDS}"
        raise body.invalid([FieldError("wait", message, shortened(sent))])
    return min(int(sent), LONGEST_WAIT_SECONDS)


def preferred_seconds(request: Request) -> int | None:
    """What `Prefer: wait` or `wait=n` asks for; None if it was not sent."""
    for preference in ",".join(request.headers.getlist("Prefer")).split(","):
        if found := PREFERENCE.fullmatch(preference):
            return min(int(found[1] or LONGEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
    return None


def _since(request: Request) -> str | None:
    sent = request.args.get("since")
    if sent is not None and (found := ETAG.fullmatch(sent)):
        return found[1]
    if "If-None-Match" not in request.headers:
        return None
    known = [*request.if_none_match.as_set(include_weak=True)]
    return known[0] if len(known) == 1 else None


def look(prediction: uuid.UUID, tenant: uuid.UUID, party: str, wished: Wish, render: Render) -> Looked:
    """Look at a prediction; if there is no news, wait for it, and look again.

    Raises:
        NotFound: there is no such prediction of this tenant, or not any more.

    """
    interest = what_the_row_shows if wished.any_change else only_the_end
    waiter = Waiter.of_prediction(prediction, tenant, interest)
    if not wished.seconds:
        return Looked(look_again(waiter, render), waited=False)
    now = time.monotonic()
    until = now + wished.seconds
    if wished.any_change:
        # What this process saw a moment ago may be older than what its caller knows from another.
        waiter.moved = now
    with services().waiting.held(party, waiter) as held:
        turn = services().waiting.turn
        answer = look_again(waiter, render, turn)
        known = answer.etag if wished.since is None else wished.since
        while held and not (answer.ended or (wished.any_change and answer.etag != known)):
            # Thousands may wait here, and none needs to remember what it saw.
            del answer
            woken = waiter.wait(until - time.monotonic())
            answer = look_again(waiter, render, turn)
            if not woken:
                break
    return Looked(answer, waited=True)


def look_again(waiter: Waiter, render: Render, turn: AbstractContextManager[object] = AT_ONCE) -> Answer:
    """The present state of what it waits for, `turn` as `Seen.answer` has it; raises `NotFound`."""
    assert waiter.prediction is not None
    seen = services().seen
    base = links.absolute("")
    answer = seen.answer(waiter.prediction, waiter.tenant_id, base, render, moved=waiter.moved, turn=turn)
    if answer is None:
        raise body.unknown_prediction()
    waiter.standing = answer.standing
    return answer
