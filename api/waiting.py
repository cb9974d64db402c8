"""Who waits for a prediction in this process: woken when something is told of it, and looked after if nothing is.

Whoever waits is registered first, then looks, then waits, then looks again: so nothing falls between a look and a wait.
One subscription wakes all; what it may have missed is found by one query for all of them, every five seconds, or every
second while Redis is away. No database connection is held meanwhile.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from api.lines import Lines
from api.places import Places
from api.seen import NEVER
from fluxfarm import lookup, own_ids
from fluxfarm.announce import Doorbell, Ring
from fluxfarm.database import Database
from fluxfarm.errors import Unavailable
from fluxfarm.lookup import Standing
from fluxfarm.moves import ENDS, Word

log = logging.getLogger("fluxfarm")

RECHECK_SECONDS = 5.0
RECHECK_WHILE_DEAF_SECONDS = 1.0
MOST_LOOKS = 5

Interest = Callable[[str], bool]


def only_the_end(word: str) -> bool:
    return word in ENDS


def what_the_row_shows(word: str) -> bool:
    return word not in (Word.PROGRESS, Word.PREVIEW, Word.LOG)


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits."""

    names: tuple[str, ...]
    """What rings for it: a prediction, by the id of its row, or a key."""
    prediction: uuid.UUID | None
    """What it waits for, as its caller calls it; None where it follows all of a key."""
    tenant_id: uuid.UUID
    interest: Interest
    standing: Standing | None = None
    """As it was when its caller last looked."""
    moved: float = NEVER
    """When something was last heard of it; what was looked up before that may be old."""
    ending: bool = False
    """Nobody shall wait any longer."""
    _row_moved: bool = False
    _woken: Event = field(default_factory=Event)

    @classmethod
    def of_prediction(cls, prediction: uuid.UUID, tenant_id: uuid.UUID, interest: Interest) -> Self:
        rows = own_ids.candidates(tenant_id, prediction)
        return cls(tuple(map(str, rows)), prediction, tenant_id, interest)

    def wake(self, moved: float, *, row: bool = True) -> None:
        """Something was told, or found, of it: `row` if more than a step that its row need not show."""
        self.moved = moved
        self._row_moved |= row
        self._woken.set()

    def row_moved(self) -> bool:
        """Whether its row may have moved since this was asked last."""
        moved, self._row_moved = self._row_moved, False
        return moved

    def end(self) -> None:
        self.ending = True
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        """Whether there may be news before the time is over."""
        if self.ending or seconds <= 0:
            return False
        woken = bool(self._woken.wait(seconds))
        self._woken.clear()
        return woken and not self.ending


class Waiting:
    """A process has one; it connects when somebody waits for the first time."""

    def __init__(self, database: Database, lines: Lines, doorbell: Doorbell, *, most_of_one: int) -> None:
        self._database = database
        self._lines = lines
        self._doorbell = doorbell
        self._places = Places(most_of_party=most_of_one)
        self._by_name: dict[str, list[Waiter]] = {}
        self._began = False
        self._ending = False
        self._soon = Event()
        self.turn = BoundedSemaphore(MOST_LOOKS)
        """Around look-ups of calls that wait, no longer: all may be woken at once, and others want connections too."""

    @contextmanager
    def held(self, party: str, waiter: Waiter) -> Iterator[bool]:
        """Be woken within the block; False where as many wait already as may, of this party, its tenant or in all."""
        if self._ending or not self._places.take(party, waiter.tenant_id):
            yield False
            return
        self._begin()
        for name in waiter.names:
            self._by_name.setdefault(name, []).append(waiter)
        try:
            yield True
        finally:
            self._forget(waiter)
            self._places.give_back(party, waiter.tenant_id)

    def _forget(self, waiter: Waiter) -> None:
        for name in waiter.names:
            of_same = self._by_name[name]
            of_same.remove(waiter)
            if not of_same:
                del self._by_name[name]

    def end(self) -> None:
        """Answer all that wait, now and from now on."""
        self._ending = True
        for waiter in self._all():
            waiter.end()

    def _begin(self) -> None:
        if not self._began:
            self._began = True
            gevent.spawn(self._doorbell.listen, self._hear, self._heard_or_lost)
            gevent.spawn(self._recheck_now_and_then)

    def _hear(self, ring: Ring) -> None:
        now = time.monotonic()
        row = what_the_row_shows(ring.word)
        for name in (ring.prediction, ring.key_id):
            for waiter in self._by_name.get(name, ()):
                if waiter.interest(ring.word):
                    waiter.wake(now, row=row)

    def _heard_or_lost(self) -> None:
        """What was told in between reached nobody here."""
        self._soon.set()
        now = time.monotonic()
        for waiter in self._all():
            waiter.wake(now)

    def _all(self) -> set[Waiter]:
        return set().union(*self._by_name.values())

    def _recheck_now_and_then(self) -> None:
        while True:
            self._soon.wait(RECHECK_SECONDS if self._doorbell.heard else RECHECK_WHILE_DEAF_SECONDS)
            self._soon.clear()
            try:
                self._recheck()
            except Unavailable:
                # Whoever looks is told so; whoever waits may as well go on.
                continue
            except Exception:
                log.exception("a recheck of what is waited for failed")

    def _recheck(self) -> None:
        began = time.monotonic()
        if not self._doorbell.heard:
            for waiter in [each for each in self._all() if each.prediction is None]:
                waiter.wake(began)
        waiters = [(each, (each.prediction, each.tenant_id)) for each in self._all() if each.prediction is not None]
        if not waiters:
            return
        with self._database.statement_scope() as statements:
            found = lookup.standings(statements, {which for _, which in waiters})
        for waiter, which in waiters:
            standing = found.get(which)
            ended = standing is None or standing.ended
            if ended or (waiter.interest is not only_the_end and self._placed(standing) != waiter.standing):
                waiter.wake(began)

    def _placed(self, standing: Standing | None) -> Standing | None:
        if standing is None or standing.waits is None:
            return standing
        place = self._lines.place(standing.waits, 0)
        return replace(standing, position=place.position if place else None)
