"""What a claim, an admission and a place in the queue cost beside so many queued rows, by fluxfarm's own functions.

The rows belong to tenants of equal weight, and were created long enough ago not to count as recent.
"""

import json
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
from fluxfarm import admission, inputs, keys, lifecycle, lookup, tenants
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan
from fluxfarm.settings import Settings

TENANTS = 100
ENDLESS = 100_000_000
LEASE_SECONDS = 3600.0
WORKER = uuid.UUID(int=1)
CLAIMED = {"worker_id": WORKER, "lease_seconds": LEASE_SECONDS, "may_fetch": True}

# `seq` follows the tags, as it does where tenants of equal weight send at an equal pace.
FILL = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';
INSERT INTO tenants (id, name) SELECT gen_random_uuid(), 'tenant-' || n FROM generate_series(1, {tenants}) n;
INSERT INTO api_keys (id, tenant_id, name, secret_sha256, scopes, max_active)
SELECT 'key-' || name, id, name, '', '{{}}', 2000000000 FROM tenants WHERE name LIKE 'tenant-%';
INSERT INTO predictions (
    id, tenant_id, key_id, fair_owner, model, version, start_tag, cost, retention_seconds, request_id, created_at
)
SELECT gen_random_uuid(), t.id, 'key-' || t.name, t.id::text, '{model}', '{version}', n / {tenants} * 1000, 1000,
    86400, 'bench', clock_timestamp() - interval '2 hours' + n * interval '1 ms'
FROM generate_series(0, {rows} - 1) n
JOIN (SELECT id, name, row_number() OVER () - 1 AS place FROM tenants WHERE name LIKE 'tenant-%') t
    ON t.place = n % {tenants};
INSERT INTO prediction_inputs (prediction_id, input, plan) SELECT id, '{input}', '{plan}' FROM predictions;
UPDATE api_keys SET active = (SELECT count(*) FROM predictions WHERE key_id = api_keys.id);
UPDATE tenants SET active = (SELECT count(*) FROM predictions WHERE tenant_id = tenants.id);
INSERT INTO fair_tags (owner, model, last_finish)
SELECT fair_owner, model, max(start_tag + cost) FROM predictions GROUP BY fair_owner, model;
"""
FRONT = "SELECT id, tenant_id FROM predictions WHERE status = 'queued' ORDER BY start_tag, seq OFFSET {} LIMIT 1"


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
        self._caller = _new_caller(self._database)
        self._rows = rows
        _fill(settings, self._model, rows)

    def measure(self, times: int) -> dict[str, Any]:
        """Each cost as a dict of milliseconds; call it once."""
        costs = {
            "claim_sql": self._costs(self._claim_in_sql, times),
            "claim": self._costs(self._claim, times),
            "admission": self._costs(self._admit, times),
            "position_front": self._costs(self._reader(times // 2), times),
            "position_back": self._costs(self._reader(self._rows - 3 * times), times),
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
        asked = _request(self._caller, self._model)
        began = time.perf_counter()
        admission.admit(session, asked, Rules(max_queued=ENDLESS))
        return (time.perf_counter() - began) * 1000

    def _reader(self, place: int) -> Callable[[Session], float]:
        with self._database.session_scope() as session:
            found = session.execute(text(FRONT.format(place))).one()

        def read(session: Session) -> float:
            began = time.perf_counter()
            view = lookup.prediction(session, found.id, found.tenant_id)
            assert view is not None
            assert view.place is not None
            return (time.perf_counter() - began) * 1000

        return read


def _new_caller(database: Database) -> Caller:
    limits = {"creates_per_minute": ENDLESS, "reads_per_minute": ENDLESS, "max_active": ENDLESS}
    with database.session_scope() as session:
        tenants.ensure(session, "newcomer", by="test")
        issued = keys.issue(session, tenant="newcomer", settings=limits, by="benchmark")
    with database.session_scope() as session:
        return keys.authenticate(session, issued.key)


def _request(caller: Caller, model: Model) -> admission.Request:
    order = inputs.parse(model, {"prompt": "nothing"})
    plan = Plan.of(order, image_key=None)
    return admission.Request(
        id=uuid.uuid4(), caller=caller, model=model, plan=plan, shown_input=order.echo, request_id="bench"
    )


def _fill(settings: Settings, model: Model, rows: int) -> None:
    order = inputs.parse(model, {"prompt": "nothing"})
    filled = FILL.format(
        tenants=TENANTS,
        rows=rows,
        model=model.slug,
        version=model.version,
        input=json.dumps(dict(order.echo)),
        plan=json.dumps(Plan.of(order, image_key=None).to_json()),
    )
    with psycopg.connect(settings.require_database_url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(filled)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
