"""The queues as this process last saw them: each is looked at once a second, however many ask where they stand."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.together import Together
from fluxfarm import line
from fluxfarm.database import Database
from fluxfarm.errors import Unavailable
from fluxfarm.line import Line, Place
from fluxfarm.lookup import Waits

FRESH_SECONDS = 1.0
MOST_OF_TIME = 0.05
"""A queue so long that a look takes long is looked at less often; so is one of which a look fails."""
MOST_AT_ONCE = 10_000

Which = tuple[str, str]
"""A model and its version."""


@dataclass(frozen=True, slots=True)
class Kept:
    line: Line | None
    """None as long as no look has succeeded."""
    until: float
    """When to look again."""


class Lines:
    """A process has one."""

    def __init__(
        self, database: Database, *, lease_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._kept: dict[Which, Kept] = {}
        self._looking: set[Which] = set()
        self._looks = Together(self._looked, most=MOST_AT_ONCE)

    def place(self, waits: Waits, cost_seconds: float) -> Place | None:
        """Where one stands that waits there; None as `of` does."""
        if waits.held:
            return line.HELD_BACK
        found = self.of(waits.model, waits.version)
        return found.place(waits.rank, cost_seconds) if found else None

    def join(self, waits: Waits, cost_seconds: float) -> Place | None:
        """Where one stands, as `place` says it; if it came after the look, others are told of it from now on."""
        which = waits.model, waits.version
        if not waits.held and self.of(*which) and (kept := self._kept[which]).line:
            self._kept[which] = replace(kept, line=kept.line.joined(waits.rank, cost_seconds))
        return self.place(waits, cost_seconds)

    def of(self, model: str, version: str) -> Line | None:
        """The queue of a model's version as one look a second sees it, and while that is under way, the one before.

        One connection is used at most for each queue, whoever asks. Where a look fails, what was seen last holds on
        for a while; None where nothing was.
        """
        which = model, version
        kept = self._kept.get(which)
        if kept is not None and (which in self._looking or self._clock() < kept.until):
            return kept.line
        return self._looks.ask(which, which)

    def _looked(self, asked: Sequence[Which]) -> list[Line | None]:
        """All of these ask for the same queue; whoever waited for a look need not look again."""
        which = asked[0]
        kept = self._kept.get(which)
        if kept is None or self._clock() >= kept.until:
            self._kept[which] = kept = self._look(which, kept)
        return [kept.line] * len(asked)

    def _look(self, which: Which, before: Kept | None) -> Kept:
        began = self._clock()
        found = before.line if before else None
        self._looking.add(which)
        try:
            with self._database.read_scope() as connection:
                found = line.look(connection, *which, lease_seconds=self._lease_seconds)
        except Unavailable:
            # Whoever asks has found the prediction itself, and is better told of that alone than of nothing.
            ended = self._clock()
            return Kept(found, ended + max(FRESH_SECONDS, (ended - began) / MOST_OF_TIME))
        finally:
            self._looking.discard(which)
        return Kept(found, began + max(FRESH_SECONDS, (self._clock() - began) / MOST_OF_TIME))
