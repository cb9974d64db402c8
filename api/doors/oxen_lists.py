"""Lists of generations, as Oxen's door is asked for them and tells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request

from api import body
from api.doors import oxen_words as words
from api.services import services
from fluxfarm.errors import FieldError
from fluxfarm.history import Page, Wanted
from fluxfarm.sent import shortened
from fluxfarm.status import TERMINAL, Status

MOST_AT_ONCE = 100
MOST_PAGES = 10_000
STATUSES = {status.value: status for status in Status}
ACTIVE = tuple(status for status in Status if status not in TERMINAL)
OF_OTHERS = ("namespace", "repo", "folder")
"""Filters that have no meaning here; ignored, they would give what was not asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A page of the history."""

    wanted: Wanted
    page: int
    size: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size


def active(request: Request) -> Wanted:
    """Which generations the queue is asked for: those that have not ended, if nothing else is said."""
    wanted = _wanted(request)
    return Wanted(wanted.model, wanted.statuses or ACTIVE)


def asked(request: Request) -> Asked:
    """Which page of the history; raises `InvalidInput` with what is wrong with it."""
    size = body.whole(request, "page_size", 20, 1, MOST_AT_ONCE)
    return Asked(_wanted(request), body.whole(request, "page", 1, 1, MOST_PAGES // size), size)


def told(page: Page, asked: Asked, cost: float) -> Mapping[str, Any]:
    """One page of the history, and what all of it took."""
    return {
        "generations": [words.listed(each) for each in page.entries],
        "count": len(page.entries),
        "page": asked.page,
        "page_size": asked.size,
        "total_entries": page.total,
        "total_capped": page.capped,
        "total_pages": -(-page.total // asked.size),
        "total_cost": round(cost, 6),
        "cost_unit": words.COST_UNIT,
    }


def _wanted(request: Request) -> Wanted:
    wrong = [
        FieldError(name, "is not known here; leave it out", shortened(request.args[name]))
        for name in OF_OTHERS
        if name in request.args
    ]
    statuses = [word.strip() for word in request.args.get("status", "").split(",") if word.strip()]
    if not set(statuses) <= STATUSES.keys():
        wrong.append(FieldError("status", f"must be one or more of {', '.join(STATUSES)}", shortened(statuses)))
    media_type = request.args.get("media_type", words.MEDIA_TYPE)
    if media_type != words.MEDIA_TYPE:
        wrong.append(FieldError("media_type", f"must be {words.MEDIA_TYPE}", shortened(media_type)))
    if wrong:
        raise body.invalid(wrong)
    name = request.args.get("model")
    model = services().catalog.model(name).slug if name else None
    return Wanted(model, [STATUSES[word] for word in statuses] or None)
