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
from dataclasses import dataclass

from api.together import Together
from fluxfarm import lookup
from fluxfarm.database import Database
from fluxfarm.lookup import PredictionView
from fluxfarm.status import TERMINAL

FRESH_SECONDS = 1.0
MOST_KEPT = 2000
LARGEST_KEPT = 16 * 1024
MOST_AT_ONCE = 100


@dataclass(slots=True)
class Answer:
    """The body of a read, and what it was made from."""

    tenant_id: uuid.UUID
    revision: int
    ended: bool
    body: str
    retry_after: int | None
    looked: float


Render = Callable[[PredictionView], tuple[str, int | None]]


class Seen:
    """A process has one."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._revisions = Together(self._ask_all, most=MOST_AT_ONCE)
        self._answers: OrderedDict[tuple[uuid.UUID, str], Answer] = OrderedDict()

    def answer(self, prediction: uuid.UUID, tenant: uuid.UUID, base: str, render: Render) -> Answer | None:
        """What to tell of a tenant's prediction in links that begin with `base`; None as `lookup.prediction` says it.

        `render` makes the body from what was looked up, and says when to ask again.
        """
        began = self._clock()
        kept = self._answers.get((prediction, base))
        if kept is not None and kept.tenant_id == tenant:
            fresh = began - kept.looked < FRESH_SECONDS
            if fresh and kept.ended:
                return kept
            if (fresh or kept.ended) and self._revisions.ask(None, (prediction, tenant)) == kept.revision:
                if kept.ended:
                    kept.looked = began
                return kept
        with self._database.read_scope() as connection:
            view = lookup.prediction(connection, prediction, tenant)
        if view is None:
            return None
        body, retry_after = render(view)
        found = Answer(tenant, view.revision, view.status in TERMINAL, body, retry_after, began)
        if len(body) <= LARGEST_KEPT:
            self._keep((prediction, base), found)
        return found

    def _keep(self, which: tuple[uuid.UUID, str], answer: Answer) -> None:
        self._answers[which] = answer
        self._answers.move_to_end(which)
        if len(self._answers) > MOST_KEPT:
            self._answers.popitem(last=False)

    def _ask_all(self, asked: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> Sequence[int | None]:
        with self._database.statement_scope() as statements:
            return lookup.revisions(statements, asked)
