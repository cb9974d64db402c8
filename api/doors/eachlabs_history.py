"""`GET /v1/executions`: the list of a tenant's predictions, in the words of Eachlabs' API, and cursors beside it."""

import base64
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from flask import Request

from api import body, links
from api.doors import eachlabs_words as words
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.history import Entry, Page, Seen, Wanted
from fluxfarm.sent import shortened
from fluxfarm.status import Status

MOST_AT_ONCE = 100
FURTHEST = 10_000
LONGEST_MODEL = 200
STATUSES = {"created": Status.QUEUED, **{word: status for status, word in words.WORDS.items()}}
OF_OTHERS = ("workflow_id", "workflow_execution_id", "error_classification")
"""Filters that have no meaning here; ignored, they would give what was not asked for."""
OFFSET_OF_TIME = re.compile(r" (\d\d:\d\d)$", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CURSOR_BYTES = 24

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A list as its caller wants it."""

    limit: int
    offset: int
    seen: Seen | None
    wanted: Wanted


def asked(request: Request) -> Asked:
    """Read what list is wanted; raises `InvalidInput` with all that is wrong with it."""
    query = _Query(request, [])
    limit, offset = query.whole("limit", 20, 1, MOST_AT_ONCE), query.whole("offset", 0, 0, FURTHEST)
    seen = query.read("cursor", _cursor, "must be the `next_cursor` of an answer")
    wanted = Wanted(
        query.read("model", _model, "must be the name of a model"),
        query.read("status", _statuses, f"must be one or more of {', '.join(STATUSES)}, with commas between them"),
        query.read("from", _time, "must be a time with its offset, such as 2026-01-31T12:00:00Z"),
        query.read("to", _time, "must be a time with its offset, such as 2026-01-31T12:00:00Z"),
    )
    if seen and offset:
        query.wrong.append(FieldError("offset", "must be 0 or left out beside cursor", offset))
    sent = [(name, request.args[name]) for name in OF_OTHERS if name in request.args]
    query.wrong += [FieldError(name, "is not known here; leave it out", shortened(value)) for name, value in sent]
    if query.wrong:
        raise body.invalid(query.wrong)
    return Asked(limit, offset, seen, wanted)


@dataclass(slots=True)
class _Query:
    """Reads the query string, and keeps what is wrong with it."""

    request: Request
    wrong: list[FieldError]

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        try:
            return body.whole(self.request, name, default, least, most)
        except InvalidInput as refusal:
            self.wrong += refusal.details
            return default

    def read(self, name: str, reader: Callable[[str], T], allowed: str) -> T | None:
        sent = self.request.args.get(name)
        if sent is None:
            return None
        try:
            return reader(sent)
        except (ValueError, OverflowError):
            self.wrong.append(FieldError(name, allowed, shortened(sent)))
            return None


def told(page: Page, asked: Asked) -> dict[str, Any]:
    """The answer."""
    return {
        "executions": [_execution(entry) for entry in page.entries],
        "total_count": page.total,
        "total_capped": page.capped,
        "offset": asked.offset,
        "limit": asked.limit,
        "next_cursor": _written(page.last) if page.last else None,
    }


def _execution(entry: Entry) -> dict[str, Any]:
    links_to = [links.output_link(entry, output, entry.expires_at) for output in entry.outputs if entry.expires_at]
    ended = entry.completed_at or entry.now
    return {
        "id": str(entry.shown_id),
        "model": entry.model,
        "requested_model": entry.model,
        "status": words.WORDS[entry.status],
        "error_code": entry.error_code,
        "workflow_id": None,
        "workflow_execution_id": None,
        "execution_cost": None,
        "run_time": words.seconds(ended - entry.started_at) if entry.started_at else 0.0,
        "created_at": words.moment(entry.created_at),
        "started_at": words.moment(entry.started_at),
        "completed_at": words.moment(entry.completed_at),
        "expires_at": words.moment(entry.expires_at),
        "output": words.output(links_to, several=entry.pictures > 1),
    }


def _model(sent: str) -> str:
    if not (sent.isprintable() and 0 < len(sent) <= LONGEST_MODEL):
        raise ValueError(sent)
    return sent


def _statuses(sent: str) -> list[Status]:
    words_sent = [word.strip() for word in sent.split(",")]
    if not set(words_sent) <= STATUSES.keys():
        raise ValueError(sent)
    return list(dict.fromkeys(STATUSES[word] for word in words_sent))


def _time(sent: str) -> datetime:
    # A plus in a query that was not written as %2B arrives as a space.
    found = datetime.fromisoformat(OFFSET_OF_TIME.sub(r"+\1", sent))
    if found.tzinfo is None:
        raise ValueError(sent)
    return found.astimezone(UTC)


def _written(seen: Seen) -> str:
    microseconds = (seen.at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(microseconds.to_bytes(8, "big") + seen.id.bytes).decode()


def _cursor(sent: str) -> Seen:
    found = base64.b64decode(sent, altchars=b"-_", validate=True)
    if len(found) != CURSOR_BYTES:
        raise ValueError(sent)
    return Seen(EPOCH + timedelta(microseconds=int.from_bytes(found[:8], "big")), uuid.UUID(bytes=found[8:]))
