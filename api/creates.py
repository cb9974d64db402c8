"""Creates of one key, as the database is asked about them: those that come at once, at once, in the order they came.

Alone, each would wait for the key's row, and for the commit, of every one before it.
"""

import time
from collections import Counter
from collections.abc import Sequence

from api.together import Together
from fluxfarm import admission, retries
from fluxfarm.admission import Request, Rules, Verdict
from fluxfarm.database import Database
from fluxfarm.errors import InFlight, LimitState
from fluxfarm.queue import TokenQueue
from fluxfarm.retries import Repeatable, Replayed

MOST_AT_ONCE = 16
PAUSE_SECONDS = 0.05


class Creates:
    """A process has one."""

    def __init__(self, database: Database, tokens: TokenQueue, rules: Rules) -> None:
        self._database = database
        self._tokens = tokens
        self._rules = rules
        self._together = Together(self._ask_all, most=MOST_AT_ONCE)

    def replay(self, asked: Repeatable) -> Replayed | None:
        """What came of a create when it was sent before; raises as `retries.replay` does."""
        with self._database.statement_scope() as statements:
            return retries.replay(statements, asked)

    def admit(self, request: Request, until: float) -> LimitState | Replayed:
        """Admit it, or raise as `admission.admit` does; what is admitted has committed and has its token.

        Where another process is at the same create, what comes of that is waited for `until`, by the monotonic clock.
        """
        admission.check_model(request.caller, request.model.slug)
        while isinstance(verdict := self._ask(request), InFlight) and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def admit_together(self, requests: Sequence[Request]) -> list[LimitState | Replayed]:
        """Admit all of these, of one caller and model, or none; raises as `admission.admit` does."""
        with self._database.session_scope() as session:
            decided = [admission.admit(session, request, self._rules) for request in requests]
        if new := sum(isinstance(each, LimitState) for each in decided):
            self._tokens.put(requests[0].model.slug, copies=new)
        return decided

    def _ask(self, request: Request) -> LimitState | Replayed | Exception:
        verdict = self._together.ask(request.caller.key_id, request)
        if verdict is not None:
            return verdict
        try:
            with self._database.session_scope() as session:
                decided = admission.admit(session, request, self._rules)
        except InFlight as refusal:
            return refusal
        if isinstance(decided, LimitState):
            self._tokens.put(request.model.slug)
        return decided

    def _ask_all(self, requests: Sequence[Request]) -> Sequence[Verdict]:
        with self._database.statement_scope() as statements:
            verdicts = admission.admit_all(statements, requests, self._rules)
        told = zip(requests, verdicts, strict=True)
        admitted = Counter(request.model.slug for request, verdict in told if isinstance(verdict, LimitState))
        for model, copies in admitted.items():
            self._tokens.put(model, copies=copies)
        return verdicts
