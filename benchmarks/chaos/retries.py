"""Creates that are each sent three times with the same key, by several clients, while the API is being killed."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.http import Api
from benchmarks.chaos.swarm import BROKEN, PATH

TIMES = 3
CLIENTS = 12
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 900.0
PASSING = (409, 429, 503)


@dataclass(frozen=True, slots=True)
class Orders:
    port: int
    key: str
    model: str
    creates: int
    every: int
    """After so many answers the API is killed."""


@dataclass(slots=True)
class Told:
    """What the clients were told."""

    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Of each key."""
    answers: Counter[str] = field(default_factory=Counter)
    kills: int = 0

    @property
    def doubled(self) -> int:
        """Keys that stood for more than one prediction."""
        return sum(len(ids) > 1 for ids in self.ids.values())


def send(orders: Orders, kill: Callable[[], None]) -> Told:
    """Send all until each is answered; raises `TimeoutError` if that takes too long."""
    return asyncio.run(asyncio.wait_for(_send(orders, kill), PATIENCE_SECONDS))


class _Keyed(Api):
    """Sends an Idempotency-Key along."""

    name = ""

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        plain = super().request(method, path, body)
        return plain.replace(b"\r\n", f"\r\nIdempotency-Key: {self.name}\r\n".encode(), 1)


async def _send(orders: Orders, kill: Callable[[], None]) -> Told:
    told, names = Told(), [f"create-{n}" for n in range(orders.creates) for _ in range(TIMES)]
    random.Random(7).shuffle(names)
    left = iter(names)

    async def client() -> None:
        api = _Keyed(orders.port, orders.key)
        for name in left:
            api.name = name
            await _until_answered(api, orders, told)
            if told.answers["200"] // orders.every > told.kills:
                told.kills += 1
                await asyncio.to_thread(kill)
        api.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return told


async def _until_answered(api: _Keyed, orders: Orders, told: Told) -> None:
    body = {"model": orders.model, "input": {"prompt": f"fast {api.name}", "num_inference_steps": 1}}
    while True:
        try:
            answer = await api.ask("POST", PATH, body)
        except BROKEN:
            told.answers["broken"] += 1
        else:
            told.answers[str(answer.status)] += 1
            told.answers["replayed"] += "idempotent-replayed" in answer.headers
            if answer.status == 200:
                told.ids[api.name].add(answer.content["predictionID"])
                return
            if answer.status not in PASSING:
                raise RuntimeError(f"a create was refused: {answer.told()}")
        await asyncio.sleep(PAUSE_SECONDS)
