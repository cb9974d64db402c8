"""Faults of workers and of the maintenance process: dead, stopped, hung, short of memory, failing, restarted, late."""

import os
import random
import signal
import time
import uuid
from collections.abc import Generator
from datetime import UTC, datetime

from benchmarks.chaos.farm import Farm
from benchmarks.chaos.kinds import Effect, eventually, kind, one_of
from benchmarks.chaos.slots import Slot

HOUR = 3600
PATIENCE_SECONDS = 15.0


def stopped_holding(farm: Farm, choose: random.Random) -> tuple[Slot, list[uuid.UUID]]:
    """A worker that was stopped by SIGSTOP while it held leases, and what it holds."""
    workers = choose.sample(farm.workers, len(farm.workers))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for worker in workers:
            if not worker.alive:
                continue
            worker.process.signal(signal.SIGSTOP)
            if held := farm.witness.held_by([worker.pid]):
                return worker, held
            worker.process.signal(signal.SIGCONT)
        time.sleep(0.05)
    return workers[0], []


@kind("worker killed")
def worker_killed(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    worker, effect.held = stopped_holding(farm, choose)
    effect.notes["killed_at"] = time.time()
    worker.kill()
    effect.met("leases held by the killed", len(effect.held))
    yield


@kind("worker paused past its lease", leases=(1.2, 1.6))
def worker_paused(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    worker, effect.held = stopped_holding(farm, choose)
    try:
        yield
    finally:
        lost = set(effect.held) - set(farm.witness.held_by([worker.pid]))
        worker.process.signal(signal.SIGCONT)
    effect.met("leases that ran out meanwhile", len(lost))


def misbehave(farm: Farm, effect: Effect, manner: str, *, ends: bool) -> None:
    """Have a worker meet a villain, and see what becomes of it."""
    name, prediction = farm.create(f"{manner}-once")
    begun = eventually(lambda: [e["pid"] for e in farm.events() if e["name"] == name and e["event"] == "picture 0"])
    victims = [slot.process for slot in farm.workers if slot.alive and slot.pid in begun]
    effect.held = list({prediction, *farm.witness.held_by(begun)})
    limit = 3 * farm.size.step_limit_seconds + 5
    if not ends:
        effect.met("renders that met it", len(begun))
    elif victims:
        status = eventually(victims[0].child.poll, limit)
        effect.proof = "" if status is None else f"the process ended with status {status}"
    elif begun:
        effect.proof = "the process had ended before it was looked at"


@kind("worker out of memory")
def worker_out_of_memory(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "hogs", ends=False)
    yield


@kind("worker segfault")
def worker_segfault(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "crashes", ends=True)
    yield


@kind("worker kills itself")
def worker_kills_itself(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "kills", ends=True)
    yield


@kind("device hung")
def device_hung(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "hangs", ends=True)
    yield


@kind("device hung with the GIL")
def device_hung_with_gil(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "hangs-with-gil", ends=True)
    yield


@kind("pipeline raises")
def pipeline_raises(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    misbehave(farm, effect, "raises", ends=False)
    yield


@kind("worker that fails at everything")
def failing_worker(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    slot = farm.another_worker("worker-failing", {"VILLAIN_FAILS": "1"})
    try:
        eventually(lambda: not slot.alive, 30)
    finally:
        slot.kill()
        farm.extra.remove(slot)
    events = [event for event in farm.events() if event["pid"] == slot.pid and event["event"] == "begin"]
    names = {event["name"] for event in events}
    effect.held = farm.predictions_named(names)
    if slot.process.child.returncode == os.EX_SOFTWARE:
        effect.met("renders that failed before it ended itself", len(events))
    yield


@kind("maintenance killed", leases=(0.7, 1.2))
def maintenance_killed(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    """And a worker too, whose leases nobody takes back until it is there again."""
    farm.maintenance.down()
    try:
        worker, effect.held = stopped_holding(farm, choose)
        worker.kill()
        yield
    finally:
        farm.maintenance.start()
    effect.met("leases that waited for its return", len(effect.held))


@kind("two maintenance processes", leases=(0.7, 1.2))
def two_maintenances(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    second = farm.another_maintenance()
    try:
        second.wait_ready()
        worker, effect.held = stopped_holding(farm, choose)
        worker.kill()
        yield
        eventually(lambda: not set(farm.witness.held_by([worker.pid])))
    finally:
        second.down()
        farm.extra.remove(second)
    effect.met("leases taken back while there were two", len(effect.held))


@kind("worker's clock wrong by an hour", leases=(1.0, 1.5))
def worker_clock(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    worker = one_of(choose, farm.workers)
    offset = one_of(choose, (HOUR, -HOUR))
    worker.restart(farm.wrong_clock(offset))
    wrong = worker.process
    try:
        yield
    finally:
        worker.restart()
    times = [datetime.fromisoformat(line["time"]) for line in wrong.lines() if "time" in line]
    far = [at for at in times if abs((at - datetime.now(UTC)).total_seconds()) > HOUR / 2]
    effect.met("log lines an hour off", len(far))


@kind("rolling restart of everything")
def rolling_restart(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    statuses = []
    for worker in farm.workers:
        statuses.append(worker.stop())
        worker.start()
        worker.wait_ready()
    statuses.append(farm.maintenance.stop())
    farm.maintenance.start()
    farm.maintenance.wait_ready()
    old = set(farm.api.children)
    farm.api.process.signal(signal.SIGHUP)
    eventually(lambda: not old & set(farm.api.children), 20)
    effect.notes["statuses"] = statuses
    if not old & set(farm.api.children) and not any(statuses):
        effect.met("processes restarted", len(statuses) + len(old))
    yield
