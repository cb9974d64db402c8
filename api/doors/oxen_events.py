"""Oxen's events: each generation of the account that has succeeded or failed, from when the reader began to listen.

As Oxen has it, nothing is told of what is cancelled, and nothing is told again to a reader that was away.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from flask import Blueprint, Response, request

from api import links, sse
from api.doors import oxen_words as words
from api.seen import Answer
from api.services import services
from api.sse import Event
from api.waiting import Waiter, only_the_end
from fluxfarm import keys, lookup
from fluxfarm.errors import Unavailable
from fluxfarm.keys import Caller
from fluxfarm.moves import ENDS
from fluxfarm.status import Status
from fluxfarm.told import Events

events = Blueprint("oxen events", __name__)

NAME: Final = "media_generation_completed"
TOLD: Final = (Status.SUCCEEDED, Status.FAILED)
AWAY: Final = ": the database is away\n\n"
MOST_REMEMBERED: Final = 1000

Active = Callable[[], set[uuid.UUID]]


@events.get("/api/events")
def of_account() -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    return sse.streamed(_follow(caller, _endings(caller)))


class Endings:
    """Which predictions of a key have ended since they were asked for last."""

    def __init__(self, key_id: str, events: Events, active: Active) -> None:
        self._key_id = key_id
        self._events = events
        self._find_active = active
        self._at = events.follow_key(key_id)
        self._active = active()
        self._ended: dict[uuid.UUID, None] = {}

    def found(self, *, rows: bool) -> list[tuple[uuid.UUID, str]]:
        """What ended, and its place among all that was told; the rows are looked at where nothing is heard."""
        if self._at is None:
            self._at = self._events.follow_key(self._key_id)
            rows = True
        told = None if self._at is None else self._events.of_key(self._key_id, self._at)
        for each in told or ():
            self._at = each.at
        ended = [uuid.UUID(each.prediction) for each in told or () if each.word in ENDS]
        if told is None or rows:
            ended += self._gone()
        return [(each, self._at or "0-0") for each in ended if self._is_new(each)]

    def _gone(self) -> list[uuid.UUID]:
        before, self._active = self._active, self._find_active()
        self._events.follow_key(self._key_id)
        return [*(before - self._active)]

    def _is_new(self, prediction: uuid.UUID) -> bool:
        if prediction in self._ended:
            return False
        self._ended[prediction] = None
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return True


def _follow(caller: Caller, endings: Mapping[str, Endings]) -> Iterator[str]:
    """Registered first; then look, tell, wait, and look again."""
    waiter = Waiter(tuple(endings), None, caller.tenant_id, only_the_end)
    with services().waiting.held(caller.key_id, waiter) as held:
        yield sse.retry(held=held)
        due = time.monotonic() + sse.HEARTBEAT_SECONDS
        while held and not waiter.ending and services().authenticator.still_holds(request, scope="read"):
            pause, rows = sse.HEARTBEAT_SECONDS, time.monotonic() >= due
            try:
                yield from _told(caller, waiter, [*endings.values()], rows=rows)
                due = time.monotonic() + sse.HEARTBEAT_SECONDS if rows else due
            except Unavailable:
                pause = sse.AWAY_SECONDS
                yield AWAY
            if not waiter.wait(pause):
                yield sse.HEARTBEAT


def _endings(caller: Caller) -> dict[str, Endings]:
    with services().database.read_scope() as connection:
        ids = keys.of_tenant(connection, caller.tenant_id)

    def active_of(key_id: str) -> Active:
        def find() -> set[uuid.UUID]:
            with services().database.session_scope() as session:
                return {*lookup.active(session, caller.tenant_id, key_id)}

        return find

    return {each: Endings(each, services().events, active_of(each)) for each in ids}


def _told(caller: Caller, waiter: Waiter, endings: Sequence[Endings], *, rows: bool) -> Iterator[str]:
    with services().waiting.turn:
        found = [each for ending in endings for each in ending.found(rows=rows)]
    for prediction, at in found:
        with services().waiting.turn:
            answer = services().seen.answer(
                prediction, caller.tenant_id, links.absolute(""), words.told, moved=waiter.moved
            )
        if answer is not None and answer.standing.status in TOLD:
            yield str(Event(NAME, at, _shown(answer)))


def _shown(answer: Answer) -> dict[str, object]:
    generation = json.loads(answer.body)
    return {
        "generation_id": generation["generation_id"],
        "status": generation["status"],
        "media_type": generation["media_type"],
        "model": generation["model_name"],
        "url": generation["result_url"],
        "error": generation["error_message"],
    }
