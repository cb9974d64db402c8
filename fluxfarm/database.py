"""The engine and `session_scope`: the only place that commits, and where a database that is away gets its error."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from fluxfarm.errors import Busy, Unavailable

log = logging.getLogger("fluxfarm")

# A transaction here is a few milliseconds; whatever takes longer is stuck and must not hold locks.
LIMITS = "-c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"

PING_AFTER_SECONDS = 1.0

BUSY = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""It answers, so it is not away: a limit of ours or another transaction stood in the way."""


class Database:
    """A pool of connections to the one database; make it after a fork, never before."""

    def __init__(self, url: str, *, pool_size: int = 10, application: str = "fluxfarm") -> None:
        connect_args = {
            "application_name": application,
            "connect_timeout": 3,
            "options": LIMITS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        }
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=3,
            pool_use_lifo=True,
            # What callers sent must not get into logs by way of an error's text.
            hide_parameters=True,
            connect_args=connect_args,
        )
        event.listen(self.engine, "checkin", _note_use)
        event.listen(self.engine, "checkout", self._ping_if_idle)
        self._reads = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def session_scope(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Lines given to `announce_change` are logged after the commit, so that the log never tells what did not happen.

        Raises:
            Unavailable: the database is away, shutting down, or out of connections.

        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
            for event, fields in session.info.get("changes", ()):
                log.info(event, extra={"fields": fields})

    @contextmanager
    def read_scope(self) -> Iterator[Connection]:
        """Statements that only read, each for itself: without BEGIN and COMMIT they are a third of the round trips.

        Raises:
            Unavailable: as `session_scope` does.

        """
        with _translated(), self._reads.connect() as connection:
            yield connection

    def _ping_if_idle(self, connection: Any, record: Any, _: Any) -> None:
        """One that was used a moment ago is alive; asking each time would double the cost of a small read."""
        if time.monotonic() - record.info.setdefault("used", time.monotonic()) < PING_AFTER_SECONDS:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error

    def close(self) -> None:
        self.engine.dispose()


def announce_change(session: Session, event: str, **fields: Any) -> None:
    """Log one change of status once the session's transaction has committed."""
    told = {name: value for name, value in fields.items() if value is not None}
    session.info.setdefault("changes", []).append((event, told))


def _note_use(_: Any, record: Any) -> None:
    if record is not None:
        record.info["used"] = time.monotonic()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("All database connections are busy; try again.", retry_after=1) from error
    except DBAPIError as error:
        if isinstance(error.orig, BUSY):
            raise Busy("The database is busy; try again.", retry_after=1) from error
        if error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
            raise Unavailable("The database is away; try again.", retry_after=2) from error
        raise
