"""The engine and `session_scope`: the only place that commits, and where a database that is away gets its error."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, TextClause, create_engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from fluxfarm.errors import Busy, Unavailable
from fluxfarm.moves import Moved

log = logging.getLogger("fluxfarm")

# A transaction here is a few milliseconds; whatever takes longer is stuck and must not hold locks.
LIMITS = "-c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"

PING_AFTER_SECONDS = 1.0

BUSY = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""It answers, so it is not away: a limit of ours or another transaction stood in the way."""


def driver_sql(statement: TextClause) -> str:
    """A statement as the driver takes it."""
    return str(statement.compile(dialect=PGDialect_psycopg()))  # type: ignore[no-untyped-call]


class Statements:
    """A connection on which each call is a transaction."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        self.info: dict[str, Any] = {}

    def each(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The first row that the statement gives for each of these parameters, or None: all in one round trip.

        They commit together or not at all; each sees what those before it wrote.
        """
        return self.last_of_each([((statement,), row) for row in rows])

    def last_of_each(self, asked: Sequence[tuple[Sequence[str], Mapping[str, Any]]]) -> list[Any]:
        """As `each`, of several statements for each of these parameters: what the last of them gives."""
        if len(asked) == 1 and len(asked[0][0]) == 1:
            ((statement,), row) = asked[0]
            return [self._cursor().execute(statement, row).fetchone()]
        with self._driver.pipeline():
            ran = [[self._cursor().execute(each, row) for each in statements] for statements, row in asked]
        return [cursors[-1].fetchone() for cursors in ran]

    def all(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Every row that the statement gives, as plain tuples."""
        return self._driver.execute(statement, parameters).fetchall()

    def _cursor(self) -> psycopg.Cursor[Any]:
        return self._driver.cursor(row_factory=namedtuple_row)


class Database:
    """A pool of connections to the one database; make it after a fork, never before."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        application: str = "fluxfarm",
        tell: Callable[[Sequence[Moved]], None] | None = None,
    ) -> None:
        self._tell = tell
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
        self._alone = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def session_scope(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        What was given to `announce_change` is logged and told after the commit, so that nothing is told that did not
        happen.

        Raises:
            Unavailable: the database is away, shutting down, or out of connections.

        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session
        self._tell_changes(session)

    @contextmanager
    def read_scope(self) -> Iterator[Connection]:
        """Statements that only read, each for itself: without BEGIN and COMMIT they are a third of the round trips.

        Raises:
            Unavailable: as `session_scope` does.

        """
        with _translated(), self._alone.connect() as connection:
            yield connection

    @contextmanager
    def statement_scope(self) -> Iterator[Statements]:
        """Statements that commit by themselves, spoken to the driver, which costs a fraction of a session.

        Raises:
            Unavailable: as `session_scope` does.

        """
        with _translated(), self._alone.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            statements = Statements(driver)
            try:
                yield statements
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if driver.closed:
                    # The others were most likely cut with it.
                    connection.invalidate()
                    self.engine.dispose()
                raise
        self._tell_changes(statements)

    def _tell_changes(self, scope: Session | Statements) -> None:
        for told, fields in scope.info.pop("changes", ()):
            log.info(told, extra={"fields": fields})
        moves = scope.info.pop("moves", ())
        if moves and self._tell is not None:
            self._tell(moves)

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


def announce_change(scope: Session | Statements, event: str | None, *moves: Moved, **fields: Any) -> None:
    """Log one change, and tell of these moves to whoever waits, once it has committed."""
    if event is not None:
        told = {name: value for name, value in fields.items() if value is not None}
        scope.info.setdefault("changes", []).append((event, told))
    scope.info.setdefault("moves", []).extend(moves)


def _note_use(_: Any, record: Any) -> None:
    if record is not None:
        record.info["used"] = time.monotonic()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("All database connections are busy; try again.", retry_after=1) from error
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, BUSY):
            raise Busy("The database is busy; try again.", retry_after=1) from error
        cut = isinstance(error, DBAPIError) and error.connection_invalidated
        if cut or isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            raise Unavailable("The database is away; try again.", retry_after=2) from error
        raise
