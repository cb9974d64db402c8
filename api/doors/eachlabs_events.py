"""The native door's events: of one prediction, by key or by a signed link, and of all of a key's."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, jsonify, request

from api import body, links, pace, polls, sse
from api.bodiless import bodiless
from api.doors import eachlabs_words as words
from api.doors.eachlabs import told
from api.doors.eachlabs_feed import Feed
from api.doors.eachlabs_previews import PreviewsOf
from api.doors.eachlabs_story import Story, ended_before
from api.files import LinkInvalid
from api.polls import Wish
from api.seen import Answer, Render
from api.services import services
from api.sse import Cursor, Event
from api.waiting import Waiter
from fluxfarm import lookup
from fluxfarm.errors import NotFound, Unavailable
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView
from fluxfarm.moves import Word
from fluxfarm.status import Status
from fluxfarm.told import AT

events = Blueprint("eachlabs events", __name__)

AWAY = ": the database is away\n\n"


@events.get("/v1/prediction/<prediction>/events")
def of_prediction(prediction: str) -> Response:
    reader = _reader(body.prediction_id(prediction))
    previewed = body.flag(request, "previews")
    last = Cursor.parse(sse.last_event_id(request))
    answer = polls.look(reader.prediction, reader.tenant_id, reader.party, Wish(), reader.render).answer
    if ended_before(answer, last):
        # So a browser is told not to come again.
        return bodiless(204)
    interest = _worth_a_look_with_previews if previewed else _worth_a_look
    waiter = Waiter.of_prediction(reader.prediction, reader.tenant_id, interest)
    previews = PreviewsOf(answer, services().previews, last, wanted=previewed)
    return sse.streamed(_follow(waiter, Story(answer, services().events, last), previews, reader))


@events.get("/v1/events")
def of_key() -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    last = sse.last_event_id(request)
    return sse.streamed(_follow_key(caller, last if last and AT.fullmatch(last) else None))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who follows a prediction."""

    prediction: uuid.UUID
    """As its tenant calls it."""
    tenant_id: uuid.UUID
    party: str
    """Who is counted for it: a key, or the link."""
    render: Render = told

    def may_go_on(self) -> bool:
        return self.render is not told or services().authenticator.still_holds(request, scope="read")


@dataclass(frozen=True, slots=True)
class _ByLink:
    """As a read tells it, but with the link that was given: with a fresh one, who had one once had one for ever."""

    link: str

    def __call__(self, view: PredictionView) -> tuple[str, int | None]:
        shown = words.prediction(view)
        shown["urls"]["events"] = self.link
        return jsonify(shown).get_data(as_text=True), pace.retry_after(view)


def _reader(prediction: uuid.UUID) -> _Reader:
    if "sig" not in request.args:
        caller = services().authenticator.caller(request, scope="read")
        services().authenticator.count_read(caller)
        return _Reader(prediction, caller.tenant_id, caller.key_id)
    services().authenticator.count_public_read(request)
    path, exp, sig = request.path, request.args.get("exp"), request.args.get("sig")
    if not services().signer.verify(path, exp, sig, time.time()):
        raise LinkInvalid("The link is not valid or has expired.")
    with services().database.session_scope() as session:
        found = lookup.whose(session, prediction)
    if found is None:
        raise body.unknown_prediction()
    tenant, named = found
    return _Reader(named, tenant, f"link of {prediction}", _ByLink(links.absolute(f"{path}?exp={exp}&sig={sig}")))


def _worth_a_look(word: str) -> bool:
    # Of steps it hears as they are made.
    return word not in (Word.NOTED, Word.PREVIEW)


def _worth_a_look_with_previews(word: str) -> bool:
    return word != Word.NOTED


def _follow(waiter: Waiter, story: Story, previews: PreviewsOf, reader: _Reader) -> Iterator[str]:
    """Registered first; then look, tell, wait, and look again."""
    waiting, row, begun = services().waiting, True, False
    waiter.moved = time.monotonic()
    with waiting.held(reader.party, waiter) as held:
        yield sse.retry(held=held)
        while not waiter.ending and reader.may_go_on():
            row = waiter.row_moved() or row
            news: list[Event] = []
            try:
                answer = polls.look_again(waiter, reader.render, waiting.turn) if row else None
                with waiting.turn:
                    if answer is not None and not begun:
                        news += story.begin(answer) if held else [story.snapshot(answer)]
                        begun = True
                    if not story.over:
                        news += story.told(answer) if held else []
                        news += story.of_row(answer) if answer is not None else []
                    news += previews.told(story)
                again, row = story.unsure, story.unsure or story.behind
            except NotFound:
                return
            except Unavailable:
                again = False
                yield AWAY
            yield from map(str, news)
            if story.over or not held:
                return
            if not again and not waiter.wait(sse.AWAY_SECONDS if row else sse.HEARTBEAT_SECONDS):
                yield sse.HEARTBEAT


def _follow_key(caller: Caller, last: str | None) -> Iterator[str]:
    waiter, waiting = Waiter((caller.key_id,), None, caller.tenant_id, _worth_a_look), services().waiting

    def look(prediction: uuid.UUID) -> Answer | None:
        base = links.absolute("")
        return services().seen.answer(prediction, caller.tenant_id, base, told, moved=waiter.moved, turn=waiting.turn)

    def active() -> dict[uuid.UUID, Status]:
        with waiting.turn, services().database.session_scope() as session:
            return lookup.active(session, caller.tenant_id, caller.key_id)

    feed = Feed(caller.key_id, services().events, look, active)
    with waiting.held(caller.key_id, waiter) as held:
        yield sse.retry(held=held)
        due = time.monotonic() + sse.HEARTBEAT_SECONDS
        while not waiter.ending and services().authenticator.still_holds(request, scope="read"):
            pause = sse.HEARTBEAT_SECONDS
            try:
                rows = time.monotonic() >= due
                yield from _fed(feed, last, rows=rows)
                if rows:
                    feed.keep()
                    due = time.monotonic() + sse.HEARTBEAT_SECONDS
            except Unavailable:
                pause = sse.AWAY_SECONDS
                yield AWAY
            if not held:
                return
            if not waiter.wait(pause):
                yield sse.HEARTBEAT


def _fed(feed: Feed, last: str | None, *, rows: bool) -> Iterator[str]:
    """What is new; the rows are looked at while nothing is told, and now and then anyway."""
    yield from map(str, feed.begin(last))
    with services().waiting.turn:
        told = feed.told()
    for each in told or ():
        yield from map(str, feed.passed_on(each))
    if told is None or rows:
        yield from map(str, feed.of_rows())
