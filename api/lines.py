"""The queues as this process last saw them: each is looked at once a second, however many ask where they stand."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fluxfarm import line
from fluxfarm.database import Database
from fluxfarm.line import Line, Place
from fluxfarm.lookup import Waits

FRESH_SECONDS = 1.0
MOST_OF_TIME = 0.05
"""A queue so long that a look takes long is looked at less often."""


@dataclass(slots=True)
class Kept:
    line: Line
    looked: float
    fresh_seconds: float
    looking: bool = False
    """Somebody looks again just now."""


class Lines:
    """A process has one."""

    def __init__(
        self, database: Database, *, lease_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._kept: dict[tuple[str, str], Kept] = {}

    def place(self, waits: Waits, cost_seconds: float) -> Place:
        """Where one stands that waits there; raises as `of` does."""
        return self.of(waits.model, waits.version).place(waits.rank, cost_seconds)

    def of(self, model: str, version: str) -> Line:
        """The queue of a model's version, a second old at most; while somebody looks again, two.

        Raises:
            Unavailable: the database is away.

        """
        kept = self._kept.get((model, version))
        if kept is not None and self._clock() - kept.looked < kept.fresh_seconds * (2 if kept.looking else 1):
            return kept.line
        if kept is not None:
            kept.looking = True
        try:
            return self._look(model, version)
        finally:
            if kept is not None:
                kept.looking = False

    def _look(self, model: str, version: str) -> Line:
        began = self._clock()
        with self._database.read_scope() as connection:
            found = line.look(connection, model, version, lease_seconds=self._lease_seconds)
        took = self._clock() - began
        self._kept[model, version] = Kept(found, began, max(FRESH_SECONDS, took / MOST_OF_TIME))
        return found
