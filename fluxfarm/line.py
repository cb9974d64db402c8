"""A model's queue at one moment: where each prediction stands that waits in it, and when its pictures may be expected.

Looked at once for all that wait. Seconds are the device's, from the rate that was lately measured for the model; those
who come later may go first, by their owners' shares, so what is expected is no promise.
"""

import bisect
import heapq
import itertools
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Self

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

LIVE_WORKER_SECONDS = 15

EXACT_TO = 100
COARSENESS = 1.1
FURTHEST = 10_000_000
LONGEST_BEAT_SECONDS = 2.0
"""How old the progress is, at most, that a living worker has noted."""


def rough(position: int) -> int:
    """A place in the queue, exact to 100, then to a tenth: the last of the marks that is not past it."""
    return position if position <= EXACT_TO else MARKS[bisect.bisect_right(MARKS, position) - 1]


def _marks() -> list[int]:
    steps = math.ceil(math.log(FURTHEST / EXACT_TO, COARSENESS))
    return [*range(1, EXACT_TO), *(math.floor(EXACT_TO * COARSENESS**step) for step in range(steps))]


MARKS = _marks()

# All marks in one walk along the index of the queue.
WAITING = text("""
SELECT priority, start_tag, seq, place, through FROM (
    SELECT priority, start_tag, seq, row_number() OVER line AS place, sum(cost) OVER line AS through
    FROM predictions WHERE model = :model AND version = :version AND status = 'queued' AND NOT held
    WINDOW line AS (ORDER BY priority, start_tag, seq ROWS UNBOUNDED PRECEDING)
) AS q
WHERE place < :exact_to OR place = ANY(cast(:marks AS bigint[]))
ORDER BY place
""")

# What is left of what each worker's process holds, for all models that it serves: they share its device. The progress
# of the one that is rendered was noted when its lease was renewed.
SERVING = text("""
SELECT w.id, w.loading, greatest(0, coalesce(
    sum(p.cost * CASE WHEN p.model = w.model THEN :pace ELSE 1 END * (1 - CASE WHEN l.steps > 0
        THEN least(1, (greatest(l.picture - 1, 0) + l.step::float / l.steps) / jsonb_array_length(i.plan -> 'seeds'))
        ELSE 0
    END)) - 1e6 * least(:longest_beat, max(greatest(0, extract(
        epoch FROM clock_timestamp() - l.expires_at + :lease_seconds * interval '1 s'
    )))), 0
))::float AS left_microseconds
FROM workers w
LEFT JOIN workers each ON (each.host, each.pid, each.device) = (w.host, w.pid, w.device)
    AND each.seen_at > clock_timestamp() - :live_seconds * interval '1 s'
LEFT JOIN leases l ON l.worker_id = each.id
LEFT JOIN predictions p ON p.id = l.prediction_id
LEFT JOIN prediction_inputs i ON i.prediction_id = p.id
WHERE w.model = :model AND w.version = :version AND w.seen_at > clock_timestamp() - :live_seconds * interval '1 s'
GROUP BY w.id
""")

# How the latest compare with what was estimated when they were created: the rate may have changed since.
PACE = text("""
SELECT sum(r.device_microseconds)::float / nullif(sum(recent.cost), 0)
FROM (VALUES (0), (1)) AS each (priority), LATERAL (
    SELECT p.id, p.cost, p.version, p.status FROM predictions p
    WHERE p.model = :model AND p.priority = each.priority AND p.attempt > 0 AND p.status <> 'queued'
    ORDER BY p.start_tag DESC LIMIT :sample
) AS recent JOIN prediction_results r ON r.prediction_id = recent.id
WHERE recent.version = :version AND recent.status = 'succeeded'
    AND r.device_microseconds BETWEEN recent.cost / :most AND recent.cost * :most
""")
PACE_SAMPLE = 20
MOST_PACE = 4.0
"""What is further off was estimated before anything was measured, which says nothing of those that came after."""


class WaitingFor(StrEnum):
    WORKER = "worker"
    """No process serves its model."""
    MODEL_LOAD = "model_load"
    """Whoever will serve it loads its weights."""
    TURN = "turn"
    TENANT = "tenant"
    """It is held back until its tenant is not suspended any more."""


class Rank(NamedTuple):
    """What the queue is ordered by; smaller goes first."""

    priority: int
    start_tag: int
    seq: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued prediction stands."""

    position: int | None
    """1 is next; exact to 100, then to a tenth; None for one that is held back, which stands in no line."""
    eta_seconds: float | None
    """Until its pictures may be expected; None while nobody can tell."""
    waiting_for: WaitingFor


HELD_BACK = Place(None, None, WaitingFor.TENANT)


@dataclass(frozen=True)
class Line:
    """A queue, as of one look."""

    ranks: Sequence[Rank]
    """Of the marks that the queue reaches."""
    through: Sequence[float]
    """Seconds of a device for all as far as each of these."""
    pace: float
    """What the device takes of each second that was estimated."""
    waiting_for: WaitingFor
    held: Mapping[uuid.UUID, float]
    """Seconds that are left of all that each worker holds."""

    @cached_property
    def starts(self) -> Sequence[float]:
        """Seconds until each of `ranks` gets a device, and, last, one that came after all."""
        return _starts(self.through, list(self.held.values()) or [0.0])

    def joined(self, rank: Rank, cost_seconds: float) -> Self:
        """With one that came after the look, unless the queue is so long that one more says little."""
        at = bisect.bisect_left(self.ranks, rank)
        if len(self.ranks) >= EXACT_TO or self.ranks[at : at + 1] == [rank]:
            return self
        before, own = self.through[at - 1] if at else 0.0, cost_seconds * self.pace
        through = [*self.through[:at], before + own, *(each + own for each in self.through[at:])]
        return replace(self, ranks=[*self.ranks[:at], rank, *self.ranks[at:]], through=through)

    def place(self, rank: Rank, cost_seconds: float) -> Place:
        """Where one stands, with what it costs itself."""
        at = bisect.bisect_left(self.ranks, rank)
        if at >= EXACT_TO and (at == len(self.ranks) or self.ranks[at] != rank):
            at -= 1
        turn = self.waiting_for is WaitingFor.TURN
        return Place(MARKS[at], self.starts[at] + cost_seconds * self.pace if turn else None, self.waiting_for)

    def left(self, worker: uuid.UUID | None, cost_seconds: float) -> float:
        """Seconds until the end of one that a worker holds and has not begun, for it may hold another before that."""
        held = self.held.get(worker, 0.0) if worker else 0.0
        return max(held, cost_seconds * self.pace)

    def end(self, cost_seconds: float) -> Place:
        """Where one would stand that came now and went after all others."""
        return self.place(Rank(*[2**62] * 3), cost_seconds)


def look(connection: Session | Connection, model: str, version: str, *, lease_seconds: float) -> Line:
    """The queue of a model's version as it stands now."""
    which = {"model": model, "version": version}
    times = {"lease_seconds": lease_seconds, "live_seconds": LIVE_WORKER_SECONDS, "longest_beat": LONGEST_BEAT_SECONDS}
    waiting = connection.execute(WAITING, {**which, "exact_to": EXACT_TO, "marks": MARKS[EXACT_TO - 1 :]}).all()
    pace = connection.execute(PACE, {**which, "sample": PACE_SAMPLE, "most": MOST_PACE}).scalar() or 1.0
    serving = connection.execute(SERVING, {**which, **times, "pace": pace}).all()
    held = {row.id: row.left_microseconds / 1e6 for row in serving if not row.loading}
    through = [pace * float(row.through) / 1e6 for row in waiting]
    reason = WaitingFor.TURN if held else WaitingFor.MODEL_LOAD if serving else WaitingFor.WORKER
    return Line([Rank(row.priority, row.start_tag, row.seq) for row in waiting], through, pace, reason, held)


def _starts(through: Sequence[float], busy: Sequence[float]) -> list[float]:
    """When each gets a device, if whichever is free first takes the next; `through` sums their seconds."""
    free = list(busy)
    heapq.heapify(free)
    starts, costs = [], [after - before for before, after in itertools.pairwise([0.0, *through])]
    for cost in costs[:EXACT_TO]:
        starts.append(free[0])
        heapq.heapreplace(free, free[0] + cost)
    ended = sum(free) / len(free)
    starts += [ended + (mark - through[EXACT_TO - 1]) / len(free) for mark in through[EXACT_TO:]]
    return [*starts, free[0] if len(through) <= EXACT_TO else starts[-1]]
