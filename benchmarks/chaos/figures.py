"""`python -m benchmarks.chaos.figures`: single promises with figures of their own, each on a farm of its own.

Chaos counts; these measure: how soon a lost token is missed, what a minute without Redis costs, whether limits are
exact when many race for them, and whether a create that is sent again stays one.
"""

import argparse
import asyncio
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos import retries as repeated
from benchmarks.chaos.count import LEAKED, read_clients_log
from benchmarks.chaos.farm import ENDLESS, MODEL, Farm, Size
from benchmarks.chaos.http import Api
from benchmarks.chaos.kinds import eventually
from benchmarks.chaos.proxy import Weather
from benchmarks.chaos.report import percentiles
from benchmarks.chaos.swarm import BROKEN, PATH
from fluxfarm import keys, tenants
from fluxfarm.database import Database
from tests.processes import wait_until

DEFAULT_LEASE_SECONDS = 30.0
LOST_TOKENS = 40
AWAY_SECONDS = 60.0
ALONE = 300
RACERS = 50
CREATES = 10_000
MAX_ACTIVE = 10
PER_MINUTE = 120
WINDOW_SECONDS = 60.0
REPEATED = 1_000
ANSWERS_TO_A_KILL = 150

CLAIMED_AFTER = "SELECT extract(epoch FROM started_at - created_at)::float AS s FROM predictions WHERE id = %s"
RENDERED = """
SELECT count(*) AS n FROM chaos.moves WHERE after = 'succeeded' AND at BETWEEN to_timestamp(%s) AND to_timestamp(%s)
"""
MOST_ACTIVE = """
SELECT max(active) AS n FROM (
    SELECT sum(CASE WHEN before IS NULL THEN 1 ELSE -1 END) OVER (ORDER BY m.n) AS active
    FROM chaos.moves m WHERE key_id = %s AND (before IS NULL OR after IN ('succeeded', 'failed', 'cancelled'))
) AS at_each_move
"""
CREATED_AT = """
SELECT extract(epoch FROM created_at)::float AS at FROM predictions WHERE key_id = %s ORDER BY created_at
"""


def lost_tokens(farm: Farm) -> dict[str, Any]:
    """The API cannot reach Redis, so no token is put while the workers idle; how soon each prediction is claimed."""
    link, seconds = farm.net.links["api>redis"], []
    link.cut()
    for _ in range(LOST_TOKENS):
        _, prediction = farm.create("fast")
        wait_until(lambda: farm.witness.active() == 0, 60)
        seconds.append(farm.witness.ask(CLAIMED_AFTER, [prediction])[0].s)
    refused = link.suffered.cut_in_flight
    link.clear()
    found = percentiles(sorted(seconds))
    return {"claimed after": found, "connections refused": refused, "well": found["p99"] <= 5 and refused > 0}


def redis_away(farm: Farm) -> dict[str, Any]:
    """A minute with Redis and a minute without, under the same load."""
    swarm = farm.start_swarm(seed=1)
    wait_until(lambda: farm.witness.ask("SELECT 1 FROM outputs LIMIT 1"), 60)
    before = time.time()
    time.sleep(AWAY_SECONDS)
    farm.valkey.kill()
    away = time.time()
    time.sleep(AWAY_SECONDS)
    back = time.time()
    farm.valkey.start_again()
    swarm.signal(15)
    swarm.ended(120)
    asked = read_clients_log(farm.client_log)
    minutes = [farm.witness.ask(RENDERED, span)[0].n for span in ([before, away], [away, back])]
    share = sum(n for status, n in asked.statuses.items() if status == 200) / max(1, sum(asked.statuses.values()))
    return {
        "answers that are 200": round(share, 4),
        "renders in the minute before and in the minute without": minutes,
        "creates": percentiles(sorted(asked.create_seconds)),
        "well": share >= 0.99 and minutes[1] >= 0.8 * minutes[0],
    }


def black_hole(farm: Farm) -> dict[str, Any]:
    """What creates take, one after the other, while Redis takes the API's connections and never answers."""
    link, seconds = farm.net.links["api>redis"], []
    farm.create("fast")
    link.change(Weather(mute=True))
    for _ in range(ALONE):
        began = time.perf_counter()
        farm.create("fast")
        seconds.append(time.perf_counter() - began)
    waited = link.suffered.held_bytes
    link.clear()
    found = percentiles(sorted(seconds))
    return {"creates took": found, "bytes that waited": waited, "well": found["p99"] <= 0.1 and waited > 0}


def racing_creates(farm: Farm) -> dict[str, Any]:
    """Creates from many clients at once on one key: never more active than it may have."""
    key_id, key = _new_key(farm, max_active=MAX_ACTIVE, creates_per_minute=ENDLESS)
    statuses = asyncio.run(_race(farm.api_port, key, CREATES))
    eventually(lambda: farm.witness.active() == 0, 60)
    most = int(farm.witness.ask(MOST_ACTIVE, [key_id])[0].n)
    leaked = sum(row.leaked for row in farm.witness.ask(LEAKED))
    return {
        "answers": statuses,
        "most active at once": most,
        "slots leaked": leaked,
        "well": most <= MAX_ACTIVE and not leaked,
    }


def sliding_window(farm: Farm) -> dict[str, Any]:
    """Clients that create as fast as they are let, for two minutes and more: no minute holds more than the limit."""
    key_id, key = _new_key(farm, max_active=ENDLESS, creates_per_minute=PER_MINUTE)
    statuses = asyncio.run(_race(farm.api_port, key, count=0, seconds=2.5 * WINDOW_SECONDS, pause=0.2))
    times = [row.at for row in farm.witness.ask(CREATED_AT, [key_id])]
    spans = [last - first for first, last in itertools.zip_longest(times, times[PER_MINUTE:]) if last is not None]
    return {
        "answers": statuses,
        "created": len(times),
        f"shortest time in which {PER_MINUTE + 1} were created": round(min(spans), 3) if spans else None,
        "well": bool(spans) and min(spans) >= WINDOW_SECONDS,
    }


def retries(farm: Farm) -> dict[str, Any]:
    """Creates each sent three times with the same key, while the API is killed again and again."""
    key_id, key = _new_key(farm, max_active=ENDLESS, creates_per_minute=ENDLESS)
    orders = repeated.Orders(farm.api_port, key, MODEL, REPEATED, every=ANSWERS_TO_A_KILL)
    told = repeated.send(orders, farm.api.kill)
    made = int(farm.witness.ask("SELECT count(*) AS n FROM predictions WHERE key_id = %s", [key_id])[0].n)
    return {
        "creates": REPEATED,
        "times the API was killed": told.kills,
        "answers": dict(told.answers),
        "predictions": made,
        "keys with two": told.doubled,
        "well": made == REPEATED == len(told.ids) and not told.doubled,
    }


def _new_key(farm: Farm, **limits: int) -> tuple[str, str]:
    database = Database(farm.settings.require_database_url(), pool_size=1)
    with database.session_scope() as session:
        tenants.ensure(session, "racers", by="test")
        settings = {"reads_per_minute": ENDLESS, **limits}
        issued = keys.issue(session, tenant="racers", settings=settings, by="test")
    database.close()
    return issued.id, issued.key


async def _race(port: int, key: str, count: int, *, seconds: float = 600.0, pause: float = 0.0) -> dict[str, int]:
    """So many creates, or as many as there are in that time; how they were answered."""
    statuses: dict[str, int] = {}
    numbers = iter(range(count)) if count else itertools.count()
    deadline = time.monotonic() + seconds

    async def racer() -> None:
        api = Api(port, key)
        for number in numbers:
            body = {"model": MODEL, "input": {"prompt": f"fast race-{number}", "num_inference_steps": 1}}
            try:
                answer = str((await api.ask("POST", PATH, body)).status)
            except BROKEN as error:
                answer = type(error).__name__
            statuses[answer] = statuses.get(answer, 0) + 1
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(pause)
        api.close()

    await asyncio.gather(*(racer() for _ in range(RACERS)))
    return statuses


Measure = Callable[[Farm], dict[str, Any]]
FIGURES: dict[str, tuple[Measure, Size]] = {
    "lost tokens": (lost_tokens, Size(workers=2, lease_seconds=DEFAULT_LEASE_SECONDS)),
    "Redis away": (redis_away, Size(workers=2, lease_seconds=DEFAULT_LEASE_SECONDS)),
    "black hole": (black_hole, Size(workers=2)),
    "racing creates": (racing_creates, Size(workers=2)),
    "retries": (retries, Size(workers=1)),
    "sliding window": (sliding_window, Size(workers=1, api_workers=4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.figures", description=__doc__)
    parser.add_argument("words", nargs="*", help=f"words in the names of: {', '.join(FIGURES)}")
    logging.basicConfig(level="ERROR")
    well = [measure(name) for name in chosen(parser.parse_args().words)]
    sys.exit(0 if all(well) else 1)


def chosen(words: Sequence[str]) -> list[str]:
    return [name for name in FIGURES if not words or any(word in name for word in words)]


def measure(name: str) -> bool:
    """Measure and print one; whether it is well."""
    action, size = FIGURES[name]
    with (
        tempfile.TemporaryDirectory(prefix="figures-", ignore_cleanup_errors=True) as directory,
        Farm(Path(directory), size) as farm,
    ):
        found = action(farm)
    print(f"{name}: {found}", flush=True)
    return bool(found["well"])


if __name__ == "__main__":
    main()
