"""What came of a run: figures, and whether anything is as it must never be."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.chaos.count import Tally
from benchmarks.chaos.renders import Costs, Inflicted

MOST_SHOWN = 5
READY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    seed: int
    kinds: tuple[str, ...]
    lease_seconds: float
    seconds: float
    faults: list[Inflicted]
    tally: Tally
    costs: Costs
    create_seconds: list[float]
    said: dict[str, int]
    """Warnings and errors in the logs of the farm's processes, by their words."""

    @property
    def without_effect(self) -> list[str]:
        """Kinds of fault that were inflicted and never met anything."""
        met = {fault.kind for fault in self.faults if fault.proof}
        return sorted({fault.kind for fault in self.faults} - met)

    @property
    def violations(self) -> dict[str, Any]:
        """What must never be, as far as it is; empty if all is well."""
        tally = self.tally
        found = {
            "lost": tally.lost,
            "unexpected": tally.unexpected,
            "doubled": tally.doubled,
            "contradicted": tally.contradicted,
            "illegal moves": tally.illegal_moves,
            "stale writes accepted": tally.stale_writes,
            "still active": tally.active,
            "slots leaked": tally.slots_leaked,
            "times past a key's limit": tally.past_a_limit,
            "objects missing": tally.missing_objects,
            "objects orphaned": tally.orphaned_objects,
            "answers that no client can live with": tally.other_answers,
            "503 without Retry-After": tally.without_retry_after,
            "kinds of fault without effect": self.without_effect,
        }
        return {name: what for name, what in found.items() if what}

    @property
    def delays(self) -> dict[str, Any]:
        """What must not be on a machine that is fast enough; a slow one loses leases without any fault."""
        found = {
            "attempts lost without a reason": self.costs.unexplained,
            "workers stalled": self.costs.stalls,
            "faults after which nothing went on": [f.kind for f in self.faults if f.recovered_seconds is None],
            f"not ready {READY_SECONDS:g} s after PostgreSQL was back": [
                fault.number
                for fault in self.faults
                if "ready_seconds" in fault.notes and (fault.notes["ready_seconds"] or READY_SECONDS) >= READY_SECONDS
            ],
        }
        return {name: what for name, what in found.items() if what}

    @property
    def well(self) -> bool:
        return not (self.violations or self.delays)

    def to_json(self) -> str:
        told = {"violations": self.violations, "delays": self.delays, **self.figures(), **asdict(self)}
        told["create_seconds"] = None
        told["costs"]["takeover_seconds"] = None
        return json.dumps(told, indent=1, default=str)

    def figures(self) -> dict[str, Any]:
        kinds = Counter(fault.kind for fault in self.faults if fault.proof)
        ready = [fault.notes["ready_seconds"] for fault in self.faults if fault.notes.get("ready_seconds")]
        return {
            "faults with effect": sum(kinds.values()),
            "kinds with effect": len(kinds),
            "takeover": percentiles(self.costs.takeover_seconds),
            "creates": percentiles(self.create_seconds),
            "ready after PostgreSQL was killed": percentiles(sorted(ready)),
            "per kind": dict(sorted(kinds.items())),
        }

    def __str__(self) -> str:
        tally, costs, figures = self.tally, self.costs, self.figures()
        ended = f"attempted {tally.attempted}, acknowledged {tally.acknowledged}, ended {tally.ended}"
        wrong = {
            "lost": len(tally.lost),
            "unexpected": len(tally.unexpected),
            "doubled": len(tally.doubled),
            "stale writes accepted": len(tally.stale_writes),
            "slots leaked": tally.slots_leaked,
            "objects orphaned": len(tally.orphaned_objects),
        }
        met = f"{figures['faults with effect']} with effect, of {figures['kinds with effect']} kinds"
        lines = [
            f"seed {self.seed}: {self.seconds:.0f} s, lease {self.lease_seconds:g} s",
            f"faults: {len(self.faults)}, {met}",
            f"predictions: {ended}, recovered {tally.recovered}",
            ", ".join(f"{name} {n}" for name, n in wrong.items()),
            f"failures: {tally.failures}",
            f"answers: {tally.statuses}",
            f"renders: {costs.renders} of {costs.rendered} predictions",
            f"leases lost: {costs.leases_lost}, by {costs.explained}",
            f"takeover after SIGKILL: {figures['takeover']}",
            f"creates: {figures['creates']}",
            f"ready after PostgreSQL was killed: {figures['ready after PostgreSQL was killed']}",
            f"warnings and errors: {self.said}",
        ]
        lines += [f"NOT WELL: {name}: {_short(what)}" for name, what in {**self.violations, **self.delays}.items()]
        return "\n".join([*lines, "all is well" if self.well else "THIS MUST NOT BE"])


def percentiles(ordered: Sequence[float]) -> dict[str, float]:
    """Of times in ascending order, in seconds."""
    if not ordered:
        return {}
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {"n": len(ordered)} | {name: round(ordered[round(part * last)], 3) for name, part in places.items()}


def _short(what: Any) -> str:
    if isinstance(what, list):
        return f"{len(what)}: {what[:MOST_SHOWN]}"
    return str(what)
