"""Claim after claim while there is work; the only place that drives the device, one thread at a time.

A token starts a drain, and so does the idle look into the database, which needs no broker: rendering goes on while
Redis is away.
"""

import logging
import os
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fluxfarm import lifecycle
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import Unavailable
from fluxfarm.moves import Moved
from fluxfarm.settings import Settings
from worker import run
from worker.finisher import End, Finisher
from worker.job import Job, StageLimits
from worker.lease import LeaseKeeper
from worker.pipelines import Pipeline
from worker.prepare import Preparer, Ready
from worker.previewer import Previewer
from worker.watchdog import Watchdog

log = logging.getLogger("fluxfarm")

FAULTS_IN_A_ROW = 2

PATIENCE_SECONDS = 0.2
SOON_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Serving:
    """One model on this process's device, known to the farm as a worker of it."""

    model: Model
    pipeline: Pipeline
    worker_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Parts:
    """What a drain works with."""

    servings: Sequence[Serving]
    database: Database
    keeper: LeaseKeeper
    preparer: Preparer
    finisher: Finisher
    tell: Callable[[Iterable[Moved]], None] | None = None
    previewer: Previewer | None = None


class Drain:
    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._preparer = parts.preparer
        self._pipelines = {each.model.slug: each.pipeline for each in parts.servings}
        self._turns = deque(parts.servings)
        self._settings = settings
        self._limits = StageLimits.of(settings)
        self._watchdog = Watchdog()
        self._device = threading.Lock()
        self._faults = 0
        self._away = False
        # Written by a signal handler: plain attributes, for an Event or a lock may deadlock there.
        self._stopping = False
        self._stop_deadline = float("inf")

    def stop(self) -> None:
        """Claim no more; a render goes on for the settings' `stop_seconds` and is then handed back."""
        if not self._stopping:
            self._stop_deadline = time.monotonic() + self._settings.stop_seconds
            self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def broken(self) -> bool:
        """Two failures in a row were the worker's own, or its safety checkers do not work any more."""
        return self._faults >= FAULTS_IN_A_ROW or self._parts.finisher.broken

    def drain(self) -> bool:
        """Render until nothing is queued, or this worker is stopping or broken; returns whether it rendered."""
        rendered = False
        with self._device:
            try:
                while (ready := self._next()) and self._render(ready):
                    rendered = True
                self._away = False
            except Unavailable:
                if not self._away:
                    log.warning("no work can be claimed: the database is away")
                self._away = True
        if self.broken and not self._stopping:
            # Its supervisor starts it again, with back-off, on a device that may have recovered.
            log.error("the device, the weights or the safety checkers fail; the worker ends")
            self.stop()
            os.kill(os.getpid(), signal.SIGTERM)
        return rendered

    def look_now_and_then(self) -> None:
        """Look for work without a token, for ever; the body of the idle thread.

        Soon again where there was some: tokens seem to be lost, and more will come without.
        """
        pause = self._settings.idle_look_seconds
        while not self._stopping:
            time.sleep(pause)
            try:
                found = self.drain()
                pause = SOON_SECONDS if found else min(2 * pause, self._settings.idle_look_seconds)
            except Exception:
                log.exception("an idle look failed")

    def settle(self) -> None:
        """Wait for the present render to end and hand back whatever was not begun; for the way out."""
        with self._device:
            self._preparer.abandon()
            while self._preparer.busy and not self._time_is_up():
                if ready := self._preparer.take(PATIENCE_SECONDS):
                    run.give_up(ready.job, self._parts.finisher)

    def _next(self) -> Ready | None:
        while not (self._stopping or self.broken or self._parts.finisher.store_away):
            if ready := self._preparer.take(0):
                return ready
            job = self._claim(may_fetch=self._preparer.has_room)
            if job is None and not self._preparer.busy:
                return None
            if job is None:
                if ready := self._preparer.take(PATIENCE_SECONDS):
                    return ready
            elif job.claimed.plan.needs_fetch:
                self._preparer.submit(job)
            else:
                return self._preparer.without_pictures(job)
        return None

    def _claim(self, *, may_fetch: bool) -> Job | None:
        """Of each model in turn, so that none waits for another's whole queue."""
        for _ in range(len(self._turns)):
            serving = self._turns[0]
            self._turns.rotate(-1)
            if job := self._claim_of(serving, may_fetch=may_fetch):
                return job
        return None

    def _claim_of(self, serving: Serving, *, may_fetch: bool) -> Job | None:
        with self._parts.database.statement_scope() as statements:
            claimed = lifecycle.claim(
                statements,
                model=serving.model.slug,
                version=serving.model.version,
                worker_id=serving.worker_id,
                lease_seconds=self._settings.lease_seconds,
                may_fetch=may_fetch,
            )
        if claimed is None:
            return None
        job = Job(
            claimed,
            self._limits,
            self._watchdog,
            must_hand_back=self._time_is_up,
            tell=self._parts.tell,
            previewer=self._parts.previewer,
        )
        self._parts.keeper.hold(job)
        return job

    def _time_is_up(self) -> bool:
        return self._stopping and time.monotonic() > self._stop_deadline

    def _render(self, ready: Ready) -> bool:
        """Render one; False if the next had better wait for a part that is away."""
        end = run.render(ready, self._pipelines[ready.job.claimed.model], self._parts.finisher)
        if end is End.FAULT:
            self._faults += 1
        elif end is End.COMPLETE:
            self._faults = 0
        return end is not End.AWAY
