"""Server-sent events as they go over the wire, and the ids by which a reader says what it has."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from flask import Request, Response, stream_with_context

from fluxfarm.moves import Place

HEARTBEAT_SECONDS = 15.0
AWAY_SECONDS = 1.0
"""Between two looks while the database is away."""
HEARTBEAT = ": \n\n"
RETRY_MILLISECONDS = 1000
RETRY_WHEN_FULL_MILLISECONDS = 5000
CURSOR = re.compile(r"([0-9]{1,9})-([0-9]{1,13})(?:-([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of a prediction's story a reader has; of its place in the queue, the last one it was told."""

    place: Place
    position: int | None = None

    def __str__(self) -> str:
        told = f"{self.place.attempt}-{self.place.within}"
        return told if self.position is None else f"{told}-{self.position}"

    @classmethod
    def parse(cls, sent: str | None) -> Self | None:
        """None for what we never gave."""
        match = CURSOR.fullmatch(sent or "")
        if match is None:
            return None
        return cls(Place(int(match[1]), int(match[2])), int(match[3]) if match[3] else None)


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is JSON already where it is text."""

    name: str
    id: str
    data: Mapping[str, Any] | str

    def __str__(self) -> str:
        data = self.data.strip() if isinstance(self.data, str) else json.dumps(self.data, separators=(",", ":"))
        return f"id: {self.id}\nevent: {self.name}\ndata: {data}\n\n"


def last_event_id(request: Request) -> str | None:
    """What the reader has, by the header that browsers send by themselves."""
    return request.headers.get("Last-Event-ID")


def retry(*, held: bool) -> str:
    """After how long a reader that was cut off shall come again."""
    return f"retry: {RETRY_MILLISECONDS if held else RETRY_WHEN_FULL_MILLISECONDS}\n\n"


def streamed(events: Iterator[str]) -> Response:
    """The answer that goes on; proxies are told to pass each piece on as it comes."""
    response = Response(stream_with_context(events), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    return response
