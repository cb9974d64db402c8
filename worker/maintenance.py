"""The maintenance process: the only way back for what was lost.

A plain loop over Postgres, so that it works while Redis is away; any number of them may run.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session

from fluxfarm import moderation, retries, sent_pictures, sweeps, tenants, upkeep
from fluxfarm.announce import Announcer
from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.database import Database
from fluxfarm.errors import Busy, FluxfarmError, Unavailable
from fluxfarm.queue import TokenQueue, redis_client
from fluxfarm.settings import Settings
from fluxfarm.storage import ObjectStore, open_store, prediction_prefix
from fluxfarm.telemetry import configure_logging
from fluxfarm.upkeep import Expired
from worker.joining import answer_store_probes

log = logging.getLogger("fluxfarm")

LONGEST_NAP_SECONDS = 0.2
SLOW_ROUND_SECONDS = 10.0
"""Rates, retention and dead workers are looked after this often."""


class Maintenance:
    def __init__(
        self, *, database: Database, tokens: TokenQueue, store: ObjectStore, catalog: Catalog, settings: Settings
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._database_since: float | None = None
        self._last_slow_round = float("-inf")
        self._more_expired = False
        self._more_remembered = False
        self._store_away = False

    def round(self) -> None:
        """Look after everything once; raises `Unavailable` while the database is away."""
        try:
            self._look_after_everything()
        except Busy:
            # Workers could renew meanwhile.
            raise
        except Unavailable:
            self._database_since = None
            raise

    def _look_after_everything(self) -> None:
        self._expire()
        deadlines = (sweeps.cancel_past_deadline, sweeps.mark_past_deadline)
        for step in (self._fail_overdue, self._fail_withdrawn, *deadlines):
            while self._in_transaction(step) == sweeps.BATCH:
                continue
        with self._database.session_scope() as session:
            tenants.hold_queued(session)
        self._top_up_tokens()
        if time.monotonic() - self._last_slow_round > SLOW_ROUND_SECONDS:
            self._last_slow_round = time.monotonic()
            self._more_expired = self._more_remembered = True
            self._slow_round()
        if self._more_expired:
            # One batch a round, for lost leases must not wait for the store.
            self._more_expired = self._forget_expired()
        if self._more_remembered:
            self._more_remembered = self._in_transaction(retries.forget_old) == retries.BATCH
        answer_store_probes(self._database, self._store)

    def _expire(self) -> None:
        """Take leases back, unless workers may have been kept from renewing them by an absence of the database.

        They get one lease's time since this process saw it again.
        """
        lease_seconds, asked = self._settings.lease_seconds, time.monotonic()
        with self._database.session_scope() as session:
            session.connection()
        answered = time.monotonic()
        if self._database_since is None or answered - asked > lease_seconds / 2:
            self._database_since = answered
        if answered - self._database_since >= lease_seconds:
            self._in_transaction(lambda s: sweeps.expire(s, max_attempts=self._settings.max_attempts))

    def _fail_overdue(self, session: Session) -> int:
        return sweeps.fail_overdue(session, max_queue_seconds=self._settings.max_queue_seconds)

    def _fail_withdrawn(self, session: Session) -> int:
        return sweeps.fail_withdrawn(session, models=list(self._catalog.models))

    def _top_up_tokens(self) -> None:
        with self._database.session_scope() as session:
            wanted = upkeep.tokens_wanted(session)
        for model, most in wanted.items():
            self._tokens.put(model, copies=most, enough=most)

    def _slow_round(self) -> None:
        with self._database.session_scope() as session:
            upkeep.forget_dead_workers(session)
            for model in self._catalog.models.values():
                upkeep.measure(session, model)
            moderation.forget_old(session, days=self._settings.moderation_days)
        self._settle_sent_pictures()
        with suppress(Unavailable):
            self._store.tidy()

    def _settle_sent_pictures(self) -> None:
        with self._database.session_scope() as session:
            settled = sent_pictures.settled(session)
        gone = settled.orphaned if self._delete_objects(settled.orphaned) else []
        if gone or settled.kept:
            with self._database.session_scope() as session:
                sent_pictures.forget(session, [*settled.kept, *gone])

    def _forget_expired(self) -> bool:
        """Objects first, then rows: what is interrupted is done again. No transaction is held over the store."""
        with self._database.session_scope() as session:
            expired = upkeep.expired(session)
        if not expired or not self._delete_objects(key for each in expired for key in self._keys(each)):
            return False
        with self._database.session_scope() as session:
            upkeep.forget(session, [each.id for each in expired])
        return len(expired) == upkeep.BATCH

    def _delete_objects(self, keys: Iterable[str]) -> bool:
        """Whether they are gone; the store may be away, and also while keys are listed."""
        try:
            self._store.delete(keys)
        except Unavailable as error:
            if not self._store_away:
                log.warning("part is away", extra={"fields": {"part": "store", "reason": error.message}})
            self._store_away = True
            return False
        self._store_away = False
        return True

    def _keys(self, expired: Expired) -> Iterator[str]:
        yield from expired.object_keys
        if expired.untidy:
            yield from list(self._store.keys(prediction_prefix(expired.tenant_id, expired.id)))

    def _in_transaction(self, step: Callable[[Session], int]) -> int:
        with self._database.session_scope() as session:
            return step(session)


@dataclass(slots=True)
class Stopping:
    """Set by signal handlers: a plain attribute, for an Event may deadlock there."""

    asked: bool = False


def loop(maintenance: Maintenance, *, pause_seconds: float, stopping: Stopping) -> None:
    """A round, a pause, until asked to stop."""
    away = False
    while not stopping.asked:
        try:
            maintenance.round()
            if away:
                log.info("maintenance goes on")
            away = False
        except Unavailable as error:
            if not away:
                log.warning("maintenance waits", extra={"fields": {"reason": error.message}})
            away = True
        except Exception:
            log.exception("a round of maintenance failed")
        until = time.monotonic() + pause_seconds
        while time.monotonic() < until and not stopping.asked:
            time.sleep(min(pause_seconds, LONGEST_NAP_SECONDS))


def main() -> None:
    stopping = Stopping()

    def stop(*_: object) -> None:
        stopping.asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        settings = Settings.from_environment(os.environ)
        configure_logging(settings.log_level)
        announcer = Announcer(redis_client(settings))
        url = settings.require_database_url()
        maintenance = Maintenance(
            database=Database(url, pool_size=1, application="fluxfarm maintenance", tell=announcer.tell),
            tokens=TokenQueue(settings),
            store=open_store(settings),
            catalog=load_catalog(settings),
            settings=settings,
        )
    except FluxfarmError as error:
        log.critical("maintenance cannot start", extra={"fields": {"code": error.code, "reason": error.message}})
        sys.exit(1)
    log.info("maintenance begins")
    with announcer:
        loop(maintenance, pause_seconds=settings.sweep_seconds, stopping=stopping)


if __name__ == "__main__":
    main()
