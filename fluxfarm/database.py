"""The engine and `session_scope`: the only place that commits, and where a database that is away gets its error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from fluxfarm.errors import Unavailable

log = logging.getLogger("fluxfarm")

# A transaction here is a few milliseconds; whatever takes longer is stuck and must not hold locks.
LIMITS = "-c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"


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
            pool_pre_ping=True,
            # What callers sent must not get into logs by way of an error's text.
            hide_parameters=True,
            connect_args=connect_args,
        )

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

    def close(self) -> None:
        self.engine.dispose()


def announce_change(session: Session, event: str, **fields: Any) -> None:
    """Log one change of status once the session's transaction has committed."""
    session.info.setdefault("changes", []).append((event, fields))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("All database connections are busy; try again.", retry_after=1) from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
            raise Unavailable("The database is away; try again.", retry_after=2) from error
        raise
