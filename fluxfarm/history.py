"""A tenant's predictions, the latest first, page by page: by number, or on from the last one that was seen.

Without filters a page is the end of the index `predictions_tenant_recent`. With them it is merged from the ends of
`predictions_history`, one for each model and status asked for: no more rows are looked at than those pages would hold,
however few of a million are meant.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from fluxfarm.lookup import stored_output
from fluxfarm.outcomes import StoredOutput
from fluxfarm.own_ids import Named
from fluxfarm.status import Status

MOST_COUNTED = 10_000
WINDOW_DAYS = 90
LATEST = uuid.UUID(int=2**128 - 1)

SINCE, UNTIL = "cast(:since AS timestamptz)", "cast(:until AS timestamptz)"
MEANT = f"""
    p.created_at >= coalesce({SINCE}, coalesce({UNTIL}, statement_timestamp()) - interval '{WINDOW_DAYS} days')
    AND p.created_at < coalesce({UNTIL}, 'infinity')
    AND (p.expires_at IS NULL OR p.expires_at > statement_timestamp())
"""
BEFORE = "(p.created_at, p.id) < (coalesce(cast(:seen_at AS timestamptz), 'infinity'), :seen_id)"

# The models of a tenant, each by one probe of the index.
KINDS = """
WITH RECURSIVE models AS (
    (SELECT model FROM predictions WHERE tenant_id = :tenant_id AND cast(:model AS text) IS NULL
    ORDER BY model LIMIT 1)
    UNION ALL
    SELECT (
        SELECT p.model FROM predictions p WHERE p.tenant_id = :tenant_id AND p.model > m.model ORDER BY p.model LIMIT 1
    ) FROM models m WHERE m.model IS NOT NULL
), kinds AS (
    SELECT wanted.model, s.status
    FROM (SELECT model FROM models UNION ALL SELECT cast(:model AS text)) AS wanted (model),
        unnest(cast(:statuses AS text[])) AS s (status)
    WHERE wanted.model IS NOT NULL
)
"""
OF_ALL = "FROM predictions p WHERE p.tenant_id = :tenant_id AND"
OF_KIND = f"{OF_ALL} p.model = kinds.model AND p.status = kinds.status AND"

NEWEST = "ORDER BY p.created_at DESC, p.id DESC LIMIT"
CHOSEN_OF_ALL = f"SELECT p.id, p.created_at {OF_ALL} {MEANT} AND {BEFORE} {NEWEST} :limit OFFSET :offset"
CHOSEN_OF_KINDS = f"""
SELECT p.id, p.created_at FROM kinds, LATERAL (
    SELECT p.id, p.created_at {OF_KIND} {MEANT} AND {BEFORE} {NEWEST} cast(:limit AS int) + :offset
) AS p {NEWEST} :limit OFFSET :offset
"""
SHOWN = """
SELECT p.id, p.own_id, p.model, p.status, p.created_at, p.started_at, p.completed_at, p.expires_at,
    clock_timestamp() AS now, jsonb_array_length(i.plan -> 'seeds') AS pictures, i.input,
    r.error_code, r.error_message, coalesce(r.device_microseconds, 0) AS device_microseconds, o.outputs
FROM chosen JOIN predictions p ON p.id = chosen.id
JOIN prediction_inputs i ON i.prediction_id = p.id
LEFT JOIN prediction_results r ON r.prediction_id = p.id
CROSS JOIN LATERAL (
    SELECT json_agg(o ORDER BY o.position) AS outputs FROM outputs o
    WHERE p.status = 'succeeded' AND o.prediction_id = p.id
) AS o
ORDER BY p.created_at DESC, p.id DESC
"""
PAGE_OF_ALL = text(f"WITH chosen AS ({CHOSEN_OF_ALL}) {SHOWN}")
PAGE_OF_KINDS = text(f"{KINDS}, chosen AS ({CHOSEN_OF_KINDS}) {SHOWN}")
# Counted in the order of an index, up to what the planner cannot know: else it bets on meeting as many soon, and walks
# through the whole table, other tenants' rows included, where there are few.
COUNTED = "ORDER BY p.created_at DESC LIMIT (SELECT cast(:most AS bigint))"
COUNT_OF_ALL = text(f"SELECT count(*) FROM (SELECT {OF_ALL} {MEANT} {COUNTED}) AS p")
COUNT_OF_KINDS = text(f"""
{KINDS} SELECT coalesce(sum(n), 0)::bigint FROM kinds, LATERAL (
    SELECT count(*) AS n FROM (SELECT {OF_KIND} {MEANT} {COUNTED}) AS p
) AS of_kind
""")

TIME_OF_ALL = text(f"""
SELECT coalesce(sum(r.device_microseconds), 0)::bigint FROM (SELECT p.id {OF_ALL} {MEANT} LIMIT :most) AS p
JOIN prediction_results r ON r.prediction_id = p.id
""")
TIME_OF_KINDS = text(f"""
{KINDS} SELECT coalesce(sum(r.device_microseconds), 0)::bigint FROM kinds, LATERAL (
    SELECT p.id {OF_KIND} {MEANT} LIMIT :most
) AS p JOIN prediction_results r ON r.prediction_id = p.id
""")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last prediction of a page: what the next one goes on from."""

    at: datetime
    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which predictions are asked for; None: of any model or status, from 90 days before the end, until now."""

    model: str | None = None
    statuses: Sequence[Status] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry(Named):
    """One prediction in a list."""

    model: str
    status: Status
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    now: datetime
    pictures: int
    """How many were asked for."""
    input: Mapping[str, Any]
    """As the API shows it."""
    error_code: str | None
    error_message: str | None
    device_microseconds: int
    outputs: Sequence[StoredOutput]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a tenant's predictions, and how many there are, counted no further than `MOST_COUNTED`."""

    entries: Sequence[Entry]
    total: int
    capped: bool
    last: Seen | None
    """Where the next page goes on; None if there is none."""


def page(
    connection: Connection,
    tenant_id: uuid.UUID,
    wanted: Wanted,
    *,
    limit: int,
    offset: int = 0,
    seen: Seen | None = None,
) -> Page:
    """A page of what a tenant has; `offset` counts on from the one that was `seen` last."""
    filtered, parameters = _filter(tenant_id, wanted)
    place = {"limit": limit + 1, "offset": offset}
    from_seen = {"seen_at": seen.at if seen else None, "seen_id": seen.id if seen else LATEST}
    rows = connection.execute(PAGE_OF_KINDS if filtered else PAGE_OF_ALL, {**parameters, **place, **from_seen}).all()
    count = COUNT_OF_KINDS if filtered else COUNT_OF_ALL
    total = int(connection.execute(count, {**parameters, "most": MOST_COUNTED + 1}).scalar_one())
    entries = [_entry(row) for row in rows[:limit]]
    last = Seen(entries[-1].created_at, entries[-1].id) if len(rows) > limit else None
    return Page(entries, min(total, MOST_COUNTED), total > MOST_COUNTED, last)


def device_seconds(connection: Connection, tenant_id: uuid.UUID, wanted: Wanted) -> float:
    """What so many of them as are counted took on the devices."""
    filtered, parameters = _filter(tenant_id, wanted)
    statement = TIME_OF_KINDS if filtered else TIME_OF_ALL
    return int(connection.execute(statement, {**parameters, "most": MOST_COUNTED}).scalar_one()) / 1e6


def _filter(tenant_id: uuid.UUID, wanted: Wanted) -> tuple[bool, dict[str, Any]]:
    """Whether it takes the statements for some kinds, and their parameters."""
    filtered = wanted.model is not None or wanted.statuses is not None
    parameters = {
        "tenant_id": tenant_id,
        "model": wanted.model,
        "statuses": [status.value for status in (wanted.statuses or Status)],
        "since": wanted.since,
        "until": wanted.until,
    }
    return filtered, parameters


def _entry(row: Any) -> Entry:
    fields = {name: getattr(row, name) for name in Entry.__dataclass_fields__}
    outputs = [stored_output(each) for each in row.outputs or ()]
    return Entry(**{**fields, "status": Status(row.status), "outputs": outputs})
