"""A prediction's story as events in the words of the native door.

What was told through Redis is passed on as it was told; what only the row shows is told from the row, after a moment in
which what it sums up may still be told step by step. Each event has its place in the story, so that nothing is told
twice, whoever knew it first. Ends are called succeeded and failed, for
a browser's EventSource calls its own errors `error`.
"""

import json
import time
from typing import Any

from api.seen import NEVER, Answer
from api.sse import Cursor, Event
from fluxfarm.moves import ENDS, Place, Word, place
from fluxfarm.outcomes import Progress
from fluxfarm.status import Stage, Status
from fluxfarm.told import FIRST, Events, Told

BEGINNING = Place(0, 0)
SNAPSHOT = "snapshot"
LATE_SECONDS = 0.5
"""By how much what is told may be behind the row."""


class Story:
    """What one reader is told of one prediction."""

    def __init__(self, seen: Answer, events: Events, last: Cursor | None) -> None:
        self._prediction = str(seen.id)
        self._shown_id = str(seen.shown_id)
        self._events = events
        self._last = last
        self._at = last or Cursor(BEGINNING)
        self._deaf = False
        self._end_was_told = False
        self._behind_since: float | None = None
        self.over = False
        self.unsure = False
        """Only another look at the row can tell how it goes on."""
        self.behind = False
        """The row shows more than was told: in a moment either that is told, or the row has to do."""

    @property
    def at(self) -> Cursor:
        """As far as its reader was told."""
        return self._at

    def begin(self, answer: Answer) -> list[Event]:
        """What stands for all that is not kept any more."""
        first = self._events.first_kept(self._prediction)
        self._deaf = first is None
        if first and first[0].place <= max(self._at.place, FIRST):
            return []
        if self._last is None and not first:
            self._behind_since = NEVER
            return self.of_row(answer)
        if self._last is None:
            return [self.snapshot(answer)]
        return [self.snapshot(answer)] if first or _cursor(answer).place > self._last.place else []

    def told(self, answer: Answer | None) -> list[Event]:
        """What was told since; `answer` is what the row shows, if that was looked at just now."""
        told = self._events.of_prediction(self._prediction, self._at.place)
        self._deaf, self.unsure = told is None, told is None and answer is None
        found: list[Event] = []
        for left, each in zip(range(len(told or ()), 0, -1), told or (), strict=True):
            waits = each.word == Word.QUEUED and left == 1
            if each.word in ENDS or (waits and (answer is None or answer.standing.status is Status.QUEUED)):
                # The row tells more of it.
                self._end_was_told = each.word in ENDS
                self.unsure = answer is None
                break
            self._at = Cursor(each.place)
            found.append(Event(each.word, str(self._at), details(each, self._shown_id)))
        return found

    def of_row(self, answer: Answer) -> list[Event]:
        """What only the row shows so far."""
        cursor = _cursor(answer)
        self.behind = self._may_still_be_told(answer, cursor)
        if answer.ended and self.behind:
            return []
        if answer.ended:
            self.over = True
            return [Event(answer.standing.status, str(cursor), answer.body)]
        if cursor.place < self._at.place or cursor == self._at:
            return []
        return [self.snapshot(answer)] if self._deaf else self._typed(answer, cursor)

    def snapshot(self, answer: Answer) -> Event:
        """All that a read would tell; an end is told as that, after it."""
        self._behind_since = NEVER
        shown = Cursor(place(Word.QUEUED, answer.standing.attempt)) if answer.ended else _cursor(answer)
        if shown.place >= self._at.place:
            self._at = shown
        return Event(SNAPSHOT, str(self._at), answer.body)

    def _may_still_be_told(self, answer: Answer, cursor: Cursor) -> bool:
        """Whether the steps and the end that the row shows have only just come about."""
        waits = answer.standing.status is Status.QUEUED
        if self._deaf or self._end_was_told or waits or cursor.place <= self._at.place:
            self._behind_since = None
            return False
        if self._behind_since is None:
            self._behind_since = time.monotonic()
        return time.monotonic() - self._behind_since < LATE_SECONDS

    def _typed(self, answer: Answer, cursor: Cursor) -> list[Event]:
        before = self._at.place
        if answer.standing.status is Status.QUEUED:
            self._at = cursor
            return [Event(Word.QUEUED, str(cursor), row_details(answer, Word.QUEUED))]
        started = place(Word.STARTED, cursor.place.attempt)
        found: list[Event] = []
        if started > before:
            found.append(Event(Word.STARTED, str(Cursor(started)), row_details(answer, Word.STARTED)))
            self._at = Cursor(started)
        if cursor.place > started and not self.behind:
            self._at = cursor
            found.append(Event(Word.PROGRESS, str(cursor), row_details(answer, Word.PROGRESS)))
        return found


def ended_before(answer: Answer, last: Cursor | None) -> bool:
    """Whether a reader was told of the end already."""
    return answer.ended and last is not None and last.place >= _cursor(answer).place


def row_details(answer: Answer, word: Word) -> dict[str, Any]:
    """What an event says, from what a read would."""
    read = json.loads(answer.body)
    if word is Word.QUEUED:
        return {"id": read["id"], **read["queue"]}
    if word is Word.STARTED:
        return {"id": read["id"], "attempt": answer.standing.attempt}
    at = {name: read["progress"][name] for name in ("step", "steps", "image", "images")}
    return {"id": read["id"], **at, "eta_seconds": read["queue"]["eta_seconds"]}


def details(told: Told, shown_id: str) -> dict[str, Any]:
    """What an event says, from what was told of one that its client calls `shown_id`."""
    named = {"id": shown_id}
    if told.word == Word.STARTED:
        return {**named, "attempt": told.attempt}
    if told.word == Word.QUEUED:
        # Where it stood then is not known any more.
        return {**named, "position": None, "eta_seconds": None, "waiting_for": None}
    if told.word == Word.LOG:
        return {**named, "line": told.more["line"]}
    steps, images = told.more["steps"], told.more["pictures"]
    progress = Progress(Stage.STEP, told.picture, told.step, steps, told.more["seconds"])
    eta = round(progress.left_seconds(images) or 0.0, 1)
    at = {"step": told.step, "steps": steps, "image": told.picture, "images": images}
    return {**named, **at, "eta_seconds": eta}


def _cursor(answer: Answer) -> Cursor:
    at = answer.standing
    if at.status is Status.PROCESSING:
        return Cursor(place(Word.PROGRESS, at.attempt, at.picture or 0, at.step or 0))
    return Cursor(place(Word(at.status), at.attempt), at.position)
