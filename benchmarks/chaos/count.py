"""The count, as Jepsen's total-queue checker does it: what clients asked for, beside what the farm made of it.

From three sources that know nothing of one another: the clients' log, the witness in the database, the object store.
"""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.farm import Farm
from benchmarks.chaos.witness import Move
from fluxfarm.status import MOVES, TERMINAL, Status

CLIENTS_WORDS = {"success": "succeeded", "error": "failed", "cancelled": "cancelled"}
ENDS = {status.value for status in TERMINAL}
PROBE_SECONDS = 5
"""A probe of the store writes, reads and deletes its object in far less."""
SERVERS_DRAFT = ".rclone_temp_put_"
"""What its sender did not send to its end, under a name that no object of ours has."""

ROWS = """
SELECT p.id, split_part(i.input ->> 'prompt', ' ', 2) AS name, p.status, p.attempt, p.lost, p.claim_id, p.tenant_id,
    r.error_code
FROM predictions p JOIN prediction_inputs i ON i.prediction_id = p.id
LEFT JOIN prediction_results r ON r.prediction_id = p.id
"""
OUTPUTS = "SELECT prediction_id, object_key, sha256 FROM outputs"
SENT = "SELECT value AS object_key FROM prediction_inputs, jsonb_each_text(plan -> 'picture_keys')"
UNSETTLED = "SELECT object_key FROM sent_pictures"
LEAKED = """
SELECT coalesce(sum(abs(k.active - coalesce(n.n, 0))), 0)::int AS leaked FROM api_keys k LEFT JOIN (
    SELECT key_id, count(*) AS n FROM predictions WHERE status IN ('queued', 'processing') GROUP BY key_id
) n ON n.key_id = k.id
UNION ALL
SELECT coalesce(sum(abs(t.active - coalesce(n.n, 0))), 0)::int FROM tenants t LEFT JOIN (
    SELECT tenant_id, count(*) AS n FROM predictions WHERE status IN ('queued', 'processing') GROUP BY tenant_id
) n ON n.tenant_id = t.id
"""
STALE_LEASES = """
SELECT 1 AS n FROM leases l JOIN predictions p ON p.id = l.prediction_id
WHERE p.status <> 'processing' OR p.claim_id <> l.claim_id
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the clients' log says."""

    attempted: set[str]
    acknowledged: dict[str, uuid.UUID]
    """Names of creates that were answered, and their ids."""
    told: dict[uuid.UUID, str]
    """How a prediction ended, as a client was told."""
    statuses: Counter[int]
    without_retry_after: int
    other_answers: list[dict[str, Any]]
    """Those that a client cannot be expected to live with."""
    create_seconds: list[float]


@dataclass(slots=True)
class Tally:
    attempted: int = 0
    acknowledged: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Acknowledged, and has not ended."""
    unexpected: list[str] = field(default_factory=list)
    """There, and nobody asked for it."""
    doubled: list[str] = field(default_factory=list)
    """Ended more than once, or left an end."""
    recovered: int = 0
    """Ended, though nobody was told that it was taken."""
    contradicted: list[str] = field(default_factory=list)
    """A client was told of another end than the row has."""
    illegal_moves: list[str] = field(default_factory=list)
    stale_writes: list[str] = field(default_factory=list)
    """Accepted from an attempt that did not hold the prediction."""
    active: int = 0
    slots_leaked: int = 0
    past_a_limit: int = 0
    """Times that a key had more active predictions than it may."""
    missing_objects: list[str] = field(default_factory=list)
    orphaned_objects: list[str] = field(default_factory=list)
    """In the store, and nothing would ever delete them."""
    left_to_retention: int = 0
    """Objects of attempts that were lost, which go with their prediction, and pictures of creates that died."""
    failures: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    without_retry_after: int = 0
    other_answers: list[dict[str, Any]] = field(default_factory=list)


def read_clients_log(path: Path) -> Asked:
    asked = Asked(set(), {}, {}, Counter(), 0, [], [])
    without = 0
    for line in map(json.loads, path.read_text().splitlines()):
        event = line["event"]
        if event == "create":
            asked.attempted.add(line["name"])
        elif event == "created":
            asked.acknowledged[line["name"]] = uuid.UUID(line["id"])
            asked.create_seconds.append(line.get("seconds", 0.0))
        elif event == "ended":
            asked.told[uuid.UUID(line["id"])] = CLIENTS_WORDS[line["status"]]
        if status := line.get("status") if event in ("created", "refused", "answer", "fetched") else None:
            asked.statuses[status] += 1
            if status == 503 and not line.get("retry_after"):
                without += 1
            if status not in (200, 429, 503):
                asked.other_answers.append(line)
    return Asked(**{**_fields(asked), "without_retry_after": without})


def _fields(asked: Asked) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in Asked.__slots__}


def count(farm: Farm, asked: Asked) -> Tally:
    rows = {row.id: row for row in farm.witness.ask(ROWS)}
    moves = farm.witness.moves()
    tally = Tally(attempted=len(asked.attempted), acknowledged=len(asked.acknowledged))
    _count_rows(tally, asked, rows)
    _count_moves(tally, moves)
    _count_objects(tally, farm, rows)
    tally.active = farm.witness.active()
    tally.slots_leaked = sum(row.leaked for row in farm.witness.ask(LEAKED))
    tally.past_a_limit = len(farm.witness.ask("SELECT 1 FROM chaos.excess"))
    tally.stale_writes += ["lease"] * len(farm.witness.ask(STALE_LEASES))
    tally.statuses = {str(status): n for status, n in sorted(asked.statuses.items())}
    tally.without_retry_after, tally.other_answers = asked.without_retry_after, asked.other_answers
    return tally


def _count_rows(tally: Tally, asked: Asked, rows: Mapping[uuid.UUID, Any]) -> None:
    acknowledged = set(asked.acknowledged.values())
    tally.ended = dict(Counter(row.status for row in rows.values() if row.status in ENDS))
    tally.failures = dict(Counter(row.error_code for row in rows.values() if row.status == "failed"))
    tally.lost = [str(each) for each in acknowledged if each not in rows or rows[each].status not in ENDS]
    names = Counter(row.name for row in rows.values())
    tally.unexpected = [name for name, n in names.items() if name not in asked.attempted or n > 1]
    tally.recovered = sum(row.status in ENDS and row.id not in acknowledged for row in rows.values())
    tally.contradicted = [
        str(each) for each, status in asked.told.items() if each in rows and rows[each].status != status
    ]


def _count_moves(tally: Tally, moves: Iterable[Move]) -> None:
    ends: Counter[uuid.UUID] = Counter()
    for move in moves:
        if move.after in ENDS:
            ends[move.prediction] += 1
        if move.before is None or move.after is None:
            continue
        if move.before in ENDS:
            ends[move.prediction] += 1
        if Status(move.after) not in MOVES[Status(move.before)]:
            tally.illegal_moves.append(f"{move.prediction}: {move.before} to {move.after}")
    tally.doubled = [str(prediction) for prediction, n in ends.items() if n > 1]


def _count_objects(tally: Tally, farm: Farm, rows: Mapping[uuid.UUID, Any]) -> None:
    stored = {path.relative_to(farm.objects).as_posix(): path for path in _settled_files(farm.objects)}
    recorded = {}
    for output in farm.witness.ask(OUTPUTS):
        recorded[output.object_key] = output.sha256
        row = rows[output.prediction_id]
        if row.status != "succeeded" or f"/{row.attempt}-{row.claim_id}/" not in output.object_key:
            tally.stale_writes.append(output.object_key)
    for key, sha256 in recorded.items():
        if key not in stored or hashlib.sha256(stored[key].read_bytes()).hexdigest() != sha256:
            tally.missing_objects.append(key)
    untidy = {
        f"tenants/{row.tenant_id}/predictions/{row.id}/"
        for row in rows.values()
        if row.attempt > 1 or row.status != "succeeded"
    }
    sent = {row.object_key for row in farm.witness.ask(SENT)}
    tally.missing_objects += sorted(sent - stored.keys())
    unsettled = {row.object_key for row in farm.witness.ask(UNSETTLED)}
    for key in stored.keys() - recorded.keys() - sent:
        if key in unsettled or key.rsplit("/", 2)[0] + "/" in untidy:
            tally.left_to_retention += 1
        else:
            tally.orphaned_objects.append(key)


def _settled_files(root: Path) -> Iterator[Path]:
    """All files but a probe that is under way, and what the server keeps of uploads whose sender died."""
    latest = time.time() - PROBE_SECONDS
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):
            if path.name.startswith(SERVERS_DRAFT):
                continue
            if path.is_file() and (path.parent != root / "probes" or path.stat().st_mtime < latest):
                yield path
