"""One run: a farm, clients, faults one after another by their schedule, a rest in which all ends, and the count."""

import itertools
import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.count import count, read_clients_log
from benchmarks.chaos.farm import Farm, Size
from benchmarks.chaos.kinds import Effect, eventually
from benchmarks.chaos.renders import Inflicted, count_costs
from benchmarks.chaos.report import Report
from benchmarks.chaos.schedule import ALL, Planned, schedule
from tests.processes import wait_until

log = logging.getLogger("chaos")

START_SECONDS = 60.0
RECOVERY_LEASES = 20.0
TRIES = 3
SETTLE_LEASES = 60.0
SUCCEEDED_SINCE = """
SELECT n FROM chaos.moves WHERE after = 'succeeded' AND at > to_timestamp(%s) ORDER BY n DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much chaos: it ends after so many seconds, or so many faults and predictions if those are given."""

    seed: int = 7
    seconds: float = 0.0
    faults: int = 0
    predictions: int = 0
    kinds: tuple[str, ...] = ALL
    clients: int = 8
    size: Size = field(default_factory=Size)


def run(plan: Plan, directory: Path) -> Report:
    """Start everything, break everything, count everything."""
    began = time.time()
    with Farm(directory, plan.size) as farm:
        swarm = farm.start_swarm(seed=plan.seed, enough=plan.predictions, clients=plan.clients)
        faults = _inflict_all(farm, plan)
        if plan.predictions:
            eventually(lambda: swarm.child.poll() is not None, plan.seconds or 3600)
        swarm.signal(signal.SIGTERM)
        swarm.ended(SETTLE_LEASES * plan.size.lease_seconds)
        settled = eventually(lambda: farm.witness.active() == 0, SETTLE_LEASES * plan.size.lease_seconds)
        log.info("settled: %s", settled)
        for slot in farm.slots:
            slot.stop()
        asked = read_clients_log(farm.client_log)
        tally = count(farm, asked)
        costs = count_costs(farm.witness.moves(), farm.events(), faults, plan.size.lease_seconds)
        return Report(
            seed=plan.seed,
            kinds=plan.kinds,
            lease_seconds=plan.size.lease_seconds,
            seconds=round(time.time() - began, 1),
            faults=faults,
            tally=tally,
            costs=costs,
            create_seconds=sorted(asked.create_seconds),
            said=farm.said(),
        )


def _inflict_all(farm: Farm, plan: Plan) -> list[Inflicted]:
    first = "SELECT 1 FROM outputs LIMIT 1"
    wait_until(lambda: farm.witness.ask(first), START_SECONDS, what=farm.client_log.read_text)
    deadline = time.monotonic() + plan.seconds if plan.seconds else float("inf")
    found: list[Inflicted] = []
    if plan.kinds and (plan.faults or plan.seconds):
        planned = schedule(plan.seed, plan.kinds, lease_seconds=plan.size.lease_seconds)
        for each in itertools.islice(planned, plan.faults or None):
            if time.monotonic() > deadline:
                break
            found += inflict_until_it_meets_something(farm, each)
    return found


def inflict_until_it_meets_something(farm: Farm, planned: Planned) -> list[Inflicted]:
    """A fault that met nothing proves nothing, and is tried again, but not for ever."""
    found = [inflict(farm, planned)]
    while not found[-1].proof and len(found) < TRIES:
        found.append(inflict(farm, planned))
    return found


def inflict(farm: Farm, planned: Planned) -> Inflicted:
    """Break, wait, mend; then wait until something succeeds again."""
    effect, began, error = Effect(), time.time(), ""
    steps = planned.kind.run(farm, planned.choose, effect)
    try:
        for _ in steps:
            time.sleep(planned.seconds)
    except (AssertionError, OSError, RuntimeError) as failure:
        error = f"{type(failure).__name__}: {str(failure)[:200]}"
    finally:
        steps.close()
        farm.net.clear()
    ended = time.time()
    recovered = _recovered(farm, ended)
    inflicted = Inflicted(
        number=planned.number,
        kind=planned.kind.name,
        began=began,
        ended=ended,
        proof=effect.proof,
        held=[str(each) for each in effect.held],
        notes=effect.notes,
        costs_leases=planned.kind.costs_leases,
        recovered_seconds=recovered,
        error=error,
    )
    shown = (inflicted.number, inflicted.kind, ended - began, effect.proof or "MET NOTHING", recovered, error)
    log.info("%3d %-40s %5.1f s; %s; went on after %s s %s", *shown)
    time.sleep(planned.pause_seconds)
    return inflicted


def _recovered(farm: Farm, since: float) -> float | None:
    found = eventually(lambda: farm.witness.ask(SUCCEEDED_SINCE, [since]), RECOVERY_LEASES * farm.size.lease_seconds)
    return round(time.time() - since, 2) if found else None


def named(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds that have one of these words in their names; all if there is none."""
    return tuple(name for name in ALL if not kinds or any(word in name for word in kinds))
