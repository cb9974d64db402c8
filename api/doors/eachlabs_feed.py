"""All that happens to the predictions of one key, as events in the words of the native door."""

import uuid
from collections.abc import Callable, Mapping

from api.doors.eachlabs_story import SNAPSHOT, details, row_details
from api.doors.eachlabs_words import WORDS
from api.seen import Answer
from api.sse import Event
from fluxfarm import own_ids
from fluxfarm.announce import MOST_KEPT_OF_KEY
from fluxfarm.moves import ENDS, Word
from fluxfarm.status import Status
from fluxfarm.told import OPENED, Events, Told

Look = Callable[[uuid.UUID], Answer | None]
Active = Callable[[], Mapping[uuid.UUID, Status]]
NOWHERE = "0-0"
MOST_REMEMBERED = 1000
OF_STATUS = {Status.QUEUED: Word.QUEUED, Status.PROCESSING: Word.STARTED}


class Feed:
    """What one reader is told of a key's predictions."""

    def __init__(self, key_id: str, events: Events, look: Look, active: Active) -> None:
        self._key_id = key_id
        self._events = events
        self._look = look
        self._active = active
        self._begun = False
        self._at: str | None = None
        self._known: dict[uuid.UUID, Status] | None = None
        """Those that are active, as the reader was told; None as long as that is its own secret."""
        self._assumed: set[uuid.UUID] = set()
        """Those of which it may not have been told yet what is known."""
        self._names: dict[uuid.UUID, uuid.UUID] = {}
        """What their client calls those that it named."""
        self._ended: dict[uuid.UUID, None] = {}
        """Those whose end was told, the latest last."""

    def begin(self, last: str | None) -> list[Event]:
        """Go on after what the reader has; if that is not known any more, from what is active now. Once, mostly."""
        if self._begun:
            return []
        followed = self._events.follow_key(self._key_id)
        if last is not None and self._events.key_is_whole(self._key_id, last):
            self._at, self._begun = last, True
            return []
        self._known, self._at, self._begun = dict(self._active()), followed, True
        told = [{"id": self._shown_id(each), "status": WORDS[status]} for each, status in self._known.items()]
        return [Event(SNAPSHOT, self._at or NOWHERE, {"predictions": told})]

    def told(self) -> list[Told] | None:
        """What was told since; None while nothing is heard."""
        if self._at is None:
            self._at = self._events.follow_key(self._key_id)
        found = None if self._at is None else self._events.of_key(self._key_id, self._at)
        if found is None or len(found) < MOST_KEPT_OF_KEY:
            return found
        # Of a reader that is so far behind, what came before these may be gone.
        self._begun = False
        return []

    def passed_on(self, told: Told) -> list[Event]:
        prediction = None if told.word == OPENED else uuid.UUID(told.prediction)
        # Of an end the row may have told first.
        found = [] if prediction is None or prediction in self._ended else self._passed_on(prediction, told)
        self._at = told.at
        return found

    def of_rows(self) -> list[Event]:
        """What the rows show that was not told."""
        active = self._active()
        if self._known is None:
            self._known, self._assumed = dict(active), set(active)
        known = self._known
        moved = [each for each in {**known, **active} if known.get(each) != active.get(each)]
        return [event for each in moved for event in self._looked(each, self._at or NOWHERE)]

    def keep(self) -> None:
        """Have what is told kept for longer."""
        self._events.follow_key(self._key_id)

    def _passed_on(self, prediction: uuid.UUID, told: Told) -> list[Event]:
        if told.word in ENDS:
            return self._looked(prediction, told.at)
        known = None if self._known is None or prediction in self._assumed else self._known.get(prediction)
        if told.word == Word.STARTED and known is Status.PROCESSING:
            return []
        if told.word == Word.QUEUED:
            if known is Status.QUEUED:
                return []
            self._note(prediction, Status.QUEUED)
            answer = self._look(prediction)
            waits = answer is not None and answer.standing.status is Status.QUEUED
            data = (
                row_details(answer, Word.QUEUED)
                if answer is not None and waits
                else details(told, self._shown_id(prediction))
            )
            return [Event(told.word, told.at, data)]
        if told.word in (Word.STARTED, Word.PROGRESS, Word.LOG):
            self._note(prediction, Status.PROCESSING)
            return [Event(told.word, told.at, details(told, self._shown_id(prediction)))]
        return []

    def _looked(self, prediction: uuid.UUID, at: str) -> list[Event]:
        """What its row shows, if that was not told yet."""
        answer = self._look(prediction)
        self._note(prediction, None if answer is None or answer.ended else answer.standing.status)
        if answer is None or prediction in self._ended:
            return []
        if not answer.ended:
            word = OF_STATUS[answer.standing.status]
            return [Event(word, at, row_details(answer, word))]
        self._ended[prediction] = None
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return [Event(answer.standing.status, at, answer.body)]

    def _shown_id(self, prediction: uuid.UUID) -> str:
        """What its client calls it."""
        if not own_ids.may_be_named(prediction):
            return str(prediction)
        if prediction not in self._names:
            answer = self._look(prediction)
            self._names[prediction] = prediction if answer is None else answer.shown_id
            if len(self._names) > MOST_REMEMBERED:
                del self._names[next(iter(self._names))]
        return str(self._names[prediction])

    def _note(self, prediction: uuid.UUID, status: Status | None) -> None:
        self._assumed.discard(prediction)
        if self._known is None:
            return
        if status is None:
            self._known.pop(prediction, None)
        else:
            self._known[prediction] = status
