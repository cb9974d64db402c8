"""A witness in the database itself: a trigger notes every move of a prediction, whoever makes it.

It looks on by a connection of its own, past all proxies, and waits while PostgreSQL is away. What it says does not come
from the code that is under test.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.1

SCHEMA = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.moves (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    prediction uuid NOT NULL,
    key_id text NOT NULL,
    before text,
    after text,
    attempt int,
    claim uuid
);
CREATE TABLE chaos.excess (key_id text, active int, max_active int);
CREATE FUNCTION chaos.note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO chaos.moves (prediction, key_id, before) VALUES (OLD.id, OLD.key_id, OLD.status);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO chaos.moves (prediction, key_id, after) VALUES (NEW.id, NEW.key_id, NEW.status);
    ELSE
        INSERT INTO chaos.moves (prediction, key_id, before, after, attempt, claim)
        VALUES (NEW.id, NEW.key_id, OLD.status, NEW.status, NEW.attempt, NEW.claim_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_moves AFTER INSERT OR DELETE OR UPDATE OF status ON predictions
    FOR EACH ROW EXECUTE FUNCTION chaos.note_move();
CREATE FUNCTION chaos.note_excess() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.excess VALUES (NEW.id, NEW.active, NEW.max_active);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_excess AFTER UPDATE OF active ON api_keys
    FOR EACH ROW WHEN (NEW.active > NEW.max_active) EXECUTE FUNCTION chaos.note_excess();
"""

HELD_BY = """
SELECT l.prediction_id FROM leases l JOIN workers w ON w.id = l.worker_id
WHERE w.pid = ANY(%s) AND l.expires_at > clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the witness's book; no status before a create, none after a deletion."""

    at: datetime
    prediction: uuid.UUID
    key_id: str
    before: str | None
    after: str | None
    attempt: int | None
    claim: uuid.UUID | None


class Witness:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def install(self) -> None:
        self.ask(SCHEMA)

    def ask(self, statement: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """What a statement gives; asked again for as long as PostgreSQL is away."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                cursor = self._connected().execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)

    def held_by(self, pids: Sequence[int]) -> list[uuid.UUID]:
        """The predictions on which these workers have a lease that has not run out."""
        return [row.prediction_id for row in self.ask(HELD_BY, [list(pids)])]

    def held(self) -> list[uuid.UUID]:
        """All predictions on which any worker has a lease."""
        return [row.prediction_id for row in self.ask("SELECT prediction_id FROM leases")]

    def active(self) -> int:
        rows = self.ask("SELECT count(*) AS n FROM predictions WHERE status IN ('queued', 'processing')")
        return int(rows[0].n)

    def moves(self) -> list[Move]:
        """All that happened, in order."""
        rows = self.ask("SELECT at, prediction, key_id, before, after, attempt, claim FROM chaos.moves ORDER BY n")
        return [Move(*row) for row in rows]

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.OperationalError):
                self._connection.close()
        self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=3, row_factory=namedtuple_row, application_name="witness"
            )
        return self._connection
