"""A plain reader of server-sent events, which can be cut off and goes on by the id of its last event."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import requests

from tests.api import PATIENCE_SECONDS

ENDS = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Heard:
    """One event."""

    name: str
    id: str
    data: dict[str, Any]


class Reader:
    """As a context manager it hangs up at the end."""

    def __init__(self, url: str, *, key: str | None = None, last: str | None = None) -> None:
        headers = {"X-API-Key": key} if key else {}
        if last is not None:
            headers["Last-Event-ID"] = last
        self.response = requests.get(url, headers=headers, stream=True, timeout=PATIENCE_SECONDS)
        self._events = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()

    def next(self) -> Heard:
        return next(self._events)

    def until(self, *names: str) -> list[Heard]:
        """All events up to the first of that name."""
        found = [self.next()]
        while found[-1].name not in names:
            found.append(self.next())
        return found

    def rest(self) -> list[Heard]:
        return list(self._events)

    def _read(self) -> Iterator[Heard]:
        assert self.response.status_code == 200, self.response.text
        assert self.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield from heard(self.response.iter_lines(chunk_size=1, decode_unicode=True))


def heard(lines: Iterable[str]) -> Iterator[Heard]:
    """Events as they came over the wire."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Heard(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}
