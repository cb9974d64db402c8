"""Creates of one key, as the database is asked about them: those that come at once, at once, in the order they came.

Alone, each would wait for the key's row, and for the commit, of every one before it.
"""

from collections import Counter
from collections.abc import Sequence

from api.together import Together
from fluxfarm import admission
from fluxfarm.admission import Request, Rules, Verdict
from fluxfarm.database import Database
from fluxfarm.errors import LimitState
from fluxfarm.queue import TokenQueue

MOST_AT_ONCE = 16


class Creates:
    """A process has one."""

    def __init__(self, database: Database, tokens: TokenQueue, rules: Rules) -> None:
        self._database = database
        self._tokens = tokens
        self._rules = rules
        self._together = Together(self._ask_all, most=MOST_AT_ONCE)

    def admit(self, request: Request) -> LimitState:
        """Admit it, or raise as `admission.admit` does; what is admitted has committed and has its token."""
        admission.check_model(request)
        verdict = self._together.ask(request.caller.key_id, request)
        if verdict is None:
            with self._database.session_scope() as session:
                state = admission.admit(session, request, self._rules)
            self._tokens.put(request.model.slug)
            return state
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def _ask_all(self, requests: Sequence[Request]) -> Sequence[Verdict]:
        with self._database.statement_scope() as statements:
            verdicts = admission.admit_all(statements, requests, self._rules)
        told = zip(requests, verdicts, strict=True)
        admitted = Counter(request.model.slug for request, verdict in told if isinstance(verdict, LimitState))
        for model, copies in admitted.items():
            self._tokens.put(model, copies=copies)
        return verdicts
