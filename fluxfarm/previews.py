"""Previews of renders, told only while somebody follows them; of each prediction the last is kept, for a minute.

They are no part of its story: nothing is made up for whoever missed one, and nobody waits for Redis to make one.
"""

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import redis

from fluxfarm.announce import CHANNEL
from fluxfarm.breaker import Breaker
from fluxfarm.moves import Place, Word, place

WISH_SECONDS = 40
"""How long a wish for previews holds; whoever follows repeats it sooner."""
KEPT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture in small after a step, as a file; counts begin at 1."""

    attempt: int
    picture: int
    step: int
    steps: int
    width: int
    height: int
    data: str
    """In base64."""

    @property
    def place(self) -> Place:
        """That of the step in the prediction's story."""
        return place(Word.PROGRESS, self.attempt, self.picture, self.step)


class Previews:
    """While Redis is away nobody wishes for any, and there are none."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._breaker = Breaker("previews")

    def wish(self, prediction: uuid.UUID) -> None:
        """Have previews made of it for `WISH_SECONDS`."""
        self._breaker.call(lambda: self._client.set(_wish(prediction), 1, ex=WISH_SECONDS))

    def wished(self, prediction: uuid.UUID) -> bool:
        return bool(self._breaker.call(lambda: self._client.exists(_wish(prediction))))

    def tell(self, prediction: uuid.UUID, key_id: str, preview: Preview) -> None:
        """Keep it in place of the one before, and ring for whoever wished for it."""
        told = json.dumps(asdict(preview), separators=(",", ":"))

        def send() -> None:
            with self._client.pipeline(transaction=False) as together:
                together.set(_last(prediction), told, ex=KEPT_SECONDS)
                together.publish(CHANNEL, f"{prediction} {key_id} {Word.PREVIEW}")
                together.execute()

        self._breaker.call(send)

    def last(self, prediction: uuid.UUID) -> Preview | None:
        """The latest that was told, if that was lately."""
        found: Any = self._breaker.call(lambda: self._client.get(_last(prediction)))
        return Preview(**json.loads(found)) if found else None


def _wish(prediction: uuid.UUID) -> str:
    return f"fluxfarm:preview:{prediction}:wished"


def _last(prediction: uuid.UUID) -> str:
    return f"fluxfarm:preview:{prediction}"
