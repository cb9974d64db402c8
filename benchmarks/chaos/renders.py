"""What faults cost: leases lost and renders in vain, each explained by a fault; takeovers; workers that stall."""

import itertools
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.chaos.witness import Move

GRACE_LEASES = 2.0
"""So long after its end a fault may still cost a lease."""
STALL_LEASES = 20.0
"""A worker that renders nothing for so long, while there is work and no fault, has stalled."""


@dataclass(frozen=True, slots=True)
class Inflicted:
    """One fault as it was: when, what it met, and how soon the farm went on."""

    number: int
    kind: str
    began: float
    ended: float
    proof: str
    held: list[str]
    notes: dict[str, Any]
    costs_leases: bool
    recovered_seconds: float | None
    """From its end to the next prediction that succeeded; None if there was none."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """The time during which one attempt held a prediction that then went back to the queue."""

    prediction: uuid.UUID
    claimed: float
    left: float


@dataclass(slots=True)
class Costs:
    renders: int = 0
    rendered: int = 0
    """Predictions that were begun at least once."""
    leases_lost: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    """Leases lost, by the kind of fault that hit who held them."""
    unexplained: list[str] = field(default_factory=list)
    takeover_seconds: list[float] = field(default_factory=list)
    stalls: list[str] = field(default_factory=list)


def count_costs(
    moves: Sequence[Move], events: Sequence[Mapping[str, Any]], faults: Sequence[Inflicted], lease_seconds: float
) -> Costs:
    begun = [event["name"] for event in events if event["event"] == "begin"]
    costs = Costs(renders=len(begun), rendered=len(set(begun)))
    for hold in holds_given_up(moves):
        costs.leases_lost += 1
        if fault := _culprit(hold, faults, GRACE_LEASES * lease_seconds):
            costs.explained[fault.kind] = costs.explained.get(fault.kind, 0) + 1
        else:
            costs.unexplained.append(str(hold.prediction))
    costs.takeover_seconds = sorted(_takeovers(moves, faults))
    costs.stalls = _stalls(events, faults, STALL_LEASES * lease_seconds)
    return costs


def holds_given_up(moves: Iterable[Move]) -> list[Hold]:
    """The attempts that did not end their prediction."""
    claimed: dict[uuid.UUID, datetime] = {}
    found = []
    for move in moves:
        if move.after == "processing":
            claimed[move.prediction] = move.at
        elif move.after == "queued" and move.before is not None:
            since = claimed.get(move.prediction, move.at)
            found.append(Hold(move.prediction, since.timestamp(), move.at.timestamp()))
    return found


def _culprit(hold: Hold, faults: Sequence[Inflicted], grace: float) -> Inflicted | None:
    """The fault that hit it: by name, or else by time."""
    at_the_time = [
        fault
        for fault in faults
        if fault.costs_leases and fault.began <= hold.left and hold.claimed <= fault.ended + grace
    ]
    named = [fault for fault in at_the_time if str(hold.prediction) in fault.held]
    return next(iter([*named, *reversed(at_the_time)]), None)


def _takeovers(moves: Sequence[Move], faults: Sequence[Inflicted]) -> Iterable[float]:
    claims = defaultdict(list)
    for move in moves:
        if move.after == "processing":
            claims[str(move.prediction)].append(move.at.timestamp())
    for fault in faults:
        if killed_at := fault.notes.get("killed_at"):
            for prediction in fault.held:
                yield from [at - killed_at for at in claims[prediction] if at > killed_at][:1]


def _stalls(events: Sequence[Mapping[str, Any]], faults: Sequence[Inflicted], bound: float) -> list[str]:
    """Workers that rendered again only after a long time, most of it without a fault."""
    times = defaultdict(list)
    for event in events:
        if event["event"] == "begin":
            times[event["pid"]].append(event["at"])
    found = []
    for pid, begun in times.items():
        for before, after in itertools.pairwise(begun):
            idle = after - before - sum(_overlap(fault, before, after) for fault in faults)
            if idle > bound:
                found.append(f"worker {pid} for {idle:.0f} s from {before:.0f}")
    return found


def _overlap(fault: Inflicted, since: float, until: float) -> float:
    return max(0.0, min(fault.ended, until) - max(fault.began, since))
