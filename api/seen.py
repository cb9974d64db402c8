"""Answers that were given a moment ago: clients ask again and again, and mostly nothing has moved.

What is still active is looked up each time, by its revision, which moves with its status: a status is never old. Only
its place in the queue and its progress, which move without it, may be as old as `FRESH_SECONDS`. What has ended never
moves again, so it is looked up only now and then: one that was erased, or whose time is over, may be told of for
`FRESH_SECONDS` more. Each answer is its tenant's alone.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from api.lines import Lines
from api.together import Together
from fluxfarm import lookup
from fluxfarm.database import Database
from fluxfarm.lookup import PredictionView, Standing

FRESH_SECONDS = 1.0
MOST_KEPT = 2000
LARGEST_KEPT = 16 * 1024
MOST_AT_ONCE = 100
NEVER = float("-inf")
AT_ONCE = nullcontext()
"""For whoever need not wait for a turn."""


@dataclass(slots=True)
class Answer:
    """The body of a read, and what it was made from."""

    id: uuid.UUID
    """Of its row."""
    shown_id: uuid.UUID
    standing: Standing
    body: str
    retry_after: int | None
    looked: float

    @property
    def ended(self) -> bool:
        return self.standing.ended

    @property
    def etag(self) -> str:
        """For `W/"…"`: the same as long as nothing has happened to the prediction that is worth an answer."""
        at = self.standing
        if at.position is not None:
            return f"{at.revision}.queued.{at.position}"
        return f"{at.revision}.{at.stage}.{at.picture}.{at.step}" if at.stage else f"{at.revision}.{at.status}"


Render = Callable[[PredictionView], tuple[str, int | None]]
Which = tuple[uuid.UUID, uuid.UUID, str, Render]
"""What was asked for, by which tenant, where its links begin, and in which words: two tenants may give the same id."""


class Seen:
    """A process has one."""

    def __init__(self, database: Database, lines: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._lines = lines
        self._clock = clock
        self._revisions = Together(self._ask_all, most=MOST_AT_ONCE)
        self._active: OrderedDict[Which, Answer] = OrderedDict()
        """Looked up a moment ago, the latest last."""
        self._ended: OrderedDict[Which, Answer] = OrderedDict()
        """The latest that was asked for anew last."""

    def answer(
        self,
        prediction: uuid.UUID,
        tenant: uuid.UUID,
        base: str,
        render: Render,
        *,
        moved: float = NEVER,
        turn: AbstractContextManager[object] = AT_ONCE,
    ) -> Answer | None:
        """What to tell of a tenant's prediction in links that begin with `base`; None as `lookup.prediction` says it.

        `render` makes the body from what was looked up, and says when to ask again; it is the same function for each
        answer of a kind. `moved` is when its caller heard that it had moved: what was looked up before that is too old.
        `turn` is held while it is looked up, and not over the look at the queue and `render`, which may read pictures
        from a slow store.
        """
        began = self._clock()
        which = (prediction, tenant, base, render)
        kept = self._ended.get(which) or self._active.get(which)
        if kept is not None and (kept.ended or kept.looked >= moved):
            fresh = began - kept.looked < FRESH_SECONDS
            if fresh and kept.ended:
                return kept
            if (fresh or kept.ended) and self._revisions.ask(None, (prediction, tenant)) == kept.standing.revision:
                if kept.ended:
                    kept.looked = began
                return kept
        with turn, self._database.read_scope() as connection:
            view = lookup.prediction(connection, prediction, tenant)
        if view is None:
            return None
        if view.waits is not None:
            # After the connection was given back, for this may want another.
            view = replace(view, place=self._lines.join(view.waits, view.cost_seconds))
        body, retry_after = render(view)
        found = Answer(view.id, view.shown_id, view.standing, body, retry_after, began)
        if len(body) <= LARGEST_KEPT:
            self._keep(which, found)
        return found

    def drop(self, prediction: uuid.UUID, tenant: uuid.UUID) -> None:
        """Forget every answer about it; other processes may tell of it for `FRESH_SECONDS` more."""
        for kept in (self._active, self._ended):
            for which in [each for each in kept if each[:2] == (prediction, tenant)]:
                del kept[which]

    def _keep(self, which: Which, answer: Answer) -> None:
        self._active.pop(which, None)
        self._ended.pop(which, None)
        (self._ended if answer.ended else self._active)[which] = answer
        if len(self._ended) > MOST_KEPT:
            self._ended.popitem(last=False)
        # Thousands may be waited for, and nobody is told what is older.
        while self._active and next(iter(self._active.values())).looked <= self._clock() - FRESH_SECONDS:
            self._active.popitem(last=False)

    def _ask_all(self, asked: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> Sequence[int | None]:
        with self._database.statement_scope() as statements:
            return lookup.revisions(statements, asked)
