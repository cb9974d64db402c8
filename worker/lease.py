"""Renews the leases this process holds, carries progress out and cancellation in, and shows that the worker lives.

A thread of its own over a connection of its own, so that neither a render nor a busy pool delays it. A prediction past
the limit of its stage is not renewed: a living thread beside a hung device proves nothing. Once such a lease is gone
and its thread has still not moved, the process ends.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from fluxfarm import lifecycle, upkeep
from fluxfarm.announce import Ring
from fluxfarm.database import Database
from fluxfarm.errors import LeaseLost, Unavailable
from fluxfarm.upkeep import WorkerIdentity
from worker.job import Job, StopReason
from worker.watchdog import end_stuck_process

log = logging.getLogger("fluxfarm")

LONGEST_BEAT_SECONDS = 2.0
LAST_BEAT_SECONDS = 1.0


class LeaseKeeper:
    """As a context manager it beats from entry to exit."""

    def __init__(self, database: Database, identities: Sequence[WorkerIdentity], lease_seconds: float) -> None:
        self._database = database
        self._identities = tuple(identities)
        self._lease_seconds = lease_seconds
        self._beat_seconds = min(LONGEST_BEAT_SECONDS, lease_seconds / 4)
        self._jobs: set[Job] = set()
        self._ending = False
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._away = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._soon.set()
        self._thread.join(LAST_BEAT_SECONDS)
        if self._away or self._thread.is_alive():
            return  # a worker that shows no sign of life is soon forgotten
        try:
            with self._database.session_scope() as session:
                for identity in self._identities:
                    upkeep.sign_off(session, identity.id)
        except Unavailable:
            log.warning("worker could not sign off")

    def show_life(self) -> None:
        with self._database.session_scope() as session:
            for identity in self._identities:
                upkeep.sign_of_life(session, identity)

    def loaded(self, device: str) -> None:
        """It can render from now on, once this was shown, too."""
        self._identities = tuple(replace(each, device=device, loading=False) for each in self._identities)

    def hear(self, ring: Ring) -> None:
        """Somebody wishes to cancel something; if it is held here, look at it now: a device is not to render on."""
        if any(str(job.claimed.id) == ring.prediction for job in self.held):
            self.beat_soon()

    def beat_soon(self) -> None:
        self._soon.set()

    def hold(self, job: Job) -> None:
        self._jobs.add(job)

    def drop(self, job: Job) -> None:
        self._jobs.discard(job)

    @property
    def held(self) -> tuple[Job, ...]:
        return tuple(self._jobs)

    def _run(self) -> None:
        while True:
            if any(job.stuck_seconds > self._lease_seconds for job in self.held):
                end_stuck_process()
            try:
                self._beat()
                self._away = False
            except Unavailable:
                # Nobody can take over meanwhile; what is finished is kept until the database is back.
                if not self._away:
                    log.warning("leases cannot be renewed: the database is away")
                self._away = True
            except Exception:
                log.exception("a round of renewals failed")
            self._soon.wait(self._beat_seconds)
            self._soon.clear()
            if self._ending:
                return

    def _beat(self) -> None:
        for job in self.held:
            if not job.stuck_seconds:
                self._renew(job)
        self.show_life()

    def _renew(self, job: Job) -> None:
        try:
            with self._database.session_scope() as session:
                cancel = lifecycle.renew(session, job.claimed, job.progress, self._lease_seconds)
        except LeaseLost:
            job.stop = StopReason.LOST
            self.drop(job)
            return
        if cancel and job.stop is None:
            job.stop = StopReason.CANCELLED
