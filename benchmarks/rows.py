"""What a claim, an admission and a place in the queue cost beside so many queued rows, by fluxfarm's own functions.

The rows belong to tenants of equal weight, and were created long enough ago not to count as recent.
"""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import noop
from fluxfarm import admission, inputs, keys, lifecycle, line, lookup, tenants
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.line import Line
from fluxfarm.plans import Plan
from fluxfarm.safety_policy import Ruling
from fluxfarm.settings import Settings

TENANTS = 100
ENDLESS = 100_000_000
LEASE_SECONDS = 3600.0
WORKER = uuid.UUID(int=1)
CLAIMED = {"worker_id": WORKER, "lease_seconds": LEASE_SECONDS, "may_fetch": True}

# One prediction per tenant was admitted as any other; these are its likenesses, whatever columns a row may have.
# `seq` follows the tags, as it does where tenants of equal weight send at an equal pace.
FILL = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';
CREATE TEMPORARY TABLE pattern AS SELECT *, row_number() OVER (ORDER BY seq) - 1 AS place FROM predictions;
CREATE TEMPORARY TABLE asked AS SELECT * FROM prediction_inputs LIMIT 1;
TRUNCATE predictions CASCADE;
{drop_indexes};
INSERT INTO predictions ({columns})
SELECT {values} FROM generate_series(0, {rows} - 1) n JOIN pattern ON pattern.place = n % {tenants};
INSERT INTO prediction_inputs (prediction_id, input, plan) SELECT p.id, a.input, a.plan FROM predictions p, asked a;
INSERT INTO predictions ({columns})
SELECT {ended} FROM generate_series(0, {history} - 1) n JOIN pattern ON pattern.place = n % {tenants};
{make_indexes};
UPDATE api_keys SET active = (SELECT count(*) FROM predictions WHERE key_id = api_keys.id);
UPDATE tenants SET active = (SELECT count(*) FROM predictions WHERE tenant_id = tenants.id);
UPDATE fair_tags SET last_finish = {rows} / {tenants} * 1000;
"""
COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = 'predictions'::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
"""
# Dropped and made anew around the fill, which takes a fraction of the time.
INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'predictions'::regclass AND NOT i.indisunique
"""
OF_ITS_OWN = {
    "id": "gen_random_uuid()",
    "start_tag": f"n / {TENANTS} * 1000",
    "created_at": "clock_timestamp() - interval '2 hours' + n * interval '1 ms'",
}
ENDED = OF_ITS_OWN | {
    "status": "'succeeded'",
    "attempt": "1",
    "start_tag": f"-n / {TENANTS} * 1000",
    "created_at": "clock_timestamp() - interval '2 hours' - n * interval '1 s'",
    "completed_at": "clock_timestamp() - interval '1 hour' - n * interval '1 s'",
    "expires_at": "clock_timestamp() + interval '30 days'",
}
PLACED = """
SELECT id, tenant_id FROM predictions WHERE status = 'queued' ORDER BY priority, start_tag, seq OFFSET {} LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, milliseconds: list[float]) -> "Cost":
        cuts = statistics.quantiles(milliseconds, n=100)
        return cls(round(cuts[49], 3), round(cuts[98], 3))


class Queue:
    """A database of its own with so many queued rows in it."""

    def __init__(self, settings: Settings, rows: int) -> None:
        self._model = load_catalog(settings).model(noop.SLUG)
        self._database = Database(settings.require_database_url(), pool_size=1)
        self._rows = rows
        fill(settings, self._database, self._model, rows)
        self._caller = new_caller(self._database, "newcomer")

    def measure(self, times: int) -> dict[str, Any]:
        """Each cost as a dict of milliseconds; call it once."""
        costs = {
            "claim_sql": self._costs(self._claim_in_sql, times),
            "claim": self._costs(self._claim, times),
            "admission": self._costs(self._admit, times),
            "line": self._costs(self._look, max(5, times // 10)),
            "place": self._costs(self._reader(self._rows - 3 * times), times),
        }
        self._database.close()
        return {name: asdict(cost) for name, cost in costs.items()}

    def _costs(self, once: Callable[[Session], float], times: int) -> Cost:
        """The first few make plans and fill caches."""
        measured = []
        for _ in range(times + 20):
            with self._database.session_scope() as session:
                measured.append(once(session))
        return Cost.of(measured[20:])

    def _claim(self, session: Session) -> float:
        began = time.perf_counter()
        claimed = lifecycle.claim(
            session,
            model=self._model.slug,
            version=self._model.version,
            worker_id=WORKER,
            lease_seconds=LEASE_SECONDS,
        )
        assert claimed is not None
        return (time.perf_counter() - began) * 1000

    def _claim_in_sql(self, session: Session) -> float:
        """The same statement's planning and execution, as PostgreSQL itself times it."""
        explain = text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {lifecycle.CLAIM.text}")
        parameters = {"model": self._model.slug, "version": self._model.version, **CLAIMED}
        plan = session.execute(explain, parameters).scalar_one()[0]
        return float(plan["Execution Time"])

    def _admit(self, session: Session) -> float:
        asked = request(self._caller, self._model)
        began = time.perf_counter()
        admission.admit(session, asked, Rules(max_queued=ENDLESS))
        return (time.perf_counter() - began) * 1000

    def _look(self, session: Session) -> float:
        began = time.perf_counter()
        self._line(session)
        return (time.perf_counter() - began) * 1000

    def _line(self, session: Session) -> Line:
        return line.look(session, self._model.slug, self._model.version, lease_seconds=LEASE_SECONDS)

    def _reader(self, place: int) -> Callable[[Session], float]:
        with self._database.session_scope() as session:
            found = session.execute(text(PLACED.format(place))).one()

        with self._database.session_scope() as session:
            seen = self._line(session)

        def read(session: Session) -> float:
            began = time.perf_counter()
            view = lookup.prediction(session, found.id, found.tenant_id)
            assert view is not None
            assert view.waits is not None
            assert (seen.place(view.waits.rank, view.cost_seconds).position or 0) > 1
            return (time.perf_counter() - began) * 1000

        return read


def new_caller(database: Database, tenant: str) -> Caller:
    """A new tenant with a key whose limits are checked and never met."""
    limits = {"creates_per_minute": ENDLESS, "reads_per_minute": ENDLESS, "max_active": ENDLESS}
    with database.session_scope() as session:
        tenants.ensure(session, tenant, by="benchmark")
        issued = keys.issue(session, tenant=tenant, settings={"name": "benchmark", **limits}, by="benchmark")
    with database.session_scope() as session:
        return keys.authenticate(session, issued.key)


def request(caller: Caller, model: Model) -> admission.Request:
    """The least that can be asked."""
    order = inputs.parse(model, {"prompt": "nothing"})
    plan = Plan.of(order, kept={}, ruling=Ruling())
    return admission.Request(
        id=uuid.uuid4(), caller=caller, model=model, plan=plan, shown_input=order.echo, request_id="bench"
    )


def fill(settings: Settings, database: Database, model: Model, rows: int, *, history: int = 0) -> None:
    """So many queued rows, and so many that ended, in an empty database."""
    for n in range(TENANTS):
        asked = request(new_caller(database, f"tenant-{n}"), model)
        with database.session_scope() as session:
            admission.admit(session, asked, Rules(max_queued=ENDLESS))
    with psycopg.connect(settings.require_database_url().replace("+psycopg", ""), autocommit=True) as connection:
        names = [row[0] for row in connection.execute(COLUMNS)]
        indexes: dict[str, str] = dict(connection.execute(INDEXES).fetchall())
        connection.execute(
            FILL.format(
                columns=", ".join(names),
                values=", ".join(OF_ITS_OWN.get(name, f"pattern.{name}") for name in names),
                ended=", ".join(ENDED.get(name, f"pattern.{name}") for name in names),
                history=history,
                drop_indexes=f"DROP INDEX {', '.join(indexes)}",
                make_indexes="; ".join(indexes.values()),
                rows=rows,
                tenants=TENANTS,
            )
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
