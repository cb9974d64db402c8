"""What was told of a prediction, or of all of a key, as long as it is kept; while Redis is away, None."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from fluxfarm.announce import KEPT_SECONDS, MOST_KEPT_OF_KEY, key_events, prediction_events
from fluxfarm.breaker import Breaker
from fluxfarm.moves import Place

FIRST = Place(1, 0)
"""Of the events of a prediction that are kept: its first claim."""
OPENED = "opened"
AT = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Told:
    """One event as it was told."""

    at: str
    """Its place in what is kept; of a prediction's own events, its place in the story."""
    prediction: str
    word: str
    attempt: int
    picture: int
    step: int
    more: Mapping[str, Any]

    @property
    def place(self) -> Place:
        return Place(*map(int, self.at.split("-")))


class Events:
    """Reads what `announce.Announcer` told."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._breaker = Breaker("events")

    def of_prediction(self, prediction: object, after: Place) -> list[Told] | None:
        return self._after(prediction_events(prediction), f"{after.attempt}-{after.within}")

    def first_kept(self, prediction: object) -> list[Told] | None:
        """The first event that is still kept of a prediction, if any is."""
        return self._range(prediction_events(prediction), "-", 1)

    def of_key(self, key_id: str, after: str) -> list[Told] | None:
        return self._after(key_events(key_id), after)

    def key_is_whole(self, key_id: str, after: str) -> bool | None:
        first = self._range(key_events(key_id), "-", 1)
        if first is None:
            return None
        return bool(first) and _numbers(first[0].at) <= _numbers(after)

    def follow_key(self, key_id: str) -> str | None:
        """Have the key's events kept from now on, for an hour; returns the place of the last one so far."""

        def ask() -> str:
            name = key_events(key_id)
            last: Any = self._client.xrevrange(name, count=1)
            if not last:
                event = json.dumps({"prediction": "", "word": OPENED, "attempt": 0, "picture": 0, "step": 0})
                at: Any = self._client.xadd(name, {"event": event}, maxlen=MOST_KEPT_OF_KEY)
            else:
                at = last[0][0]
            self._client.expire(name, KEPT_SECONDS)
            return str(at.decode())

        return self._breaker.call(ask)

    def _after(self, name: str, after: str) -> list[Told] | None:
        return self._range(name, f"({after}", None)

    def _range(self, name: str, first: str, count: int | None) -> list[Told] | None:
        found: Any = self._breaker.call(lambda: self._client.xrange(name, min=first, count=count))
        return None if found is None else [_told(at.decode(), fields[b"event"]) for at, fields in found]


def _numbers(at: str) -> tuple[int, ...]:
    return tuple(map(int, at.split("-")))


def _told(at: str, event: bytes) -> Told:
    fields = json.loads(event)
    known = {name: fields.pop(name) for name in ("prediction", "word", "attempt", "picture", "step")}
    return Told(at, **known, more=fields)
