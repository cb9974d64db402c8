"""Clients that create, poll, cancel and fetch pictures through HTTP, and log each attempt before and after.

`python -m benchmarks.chaos.swarm FILE` reads what to do as JSON from a file. SIGTERM ends the creating; it leaves when
all it was promised has ended, or its patience is over.
"""

import asyncio
import json
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from benchmarks.chaos.http import Answer, Api

PATH = "/v1/prediction"
ENDED = frozenset({"success", "error", "cancelled"})
BROKEN = (OSError, EOFError, TimeoutError, ValueError)
LONGEST_PAUSE_SECONDS = 1.0
PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGUlEQVR4nGM8oaHBQApgIkn1qIZRDUNKAwCMLQE4ZidSiAAAAABJRU5ErkJggg=="
)
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Orders:
    """What the clients do, over how many connections, with which keys; `enough` creates, or 0 for no end."""

    port: int
    model: str
    keys: tuple[str, ...]
    log: str
    seed: int
    clients: int = 8
    depth: int = 3
    """So many predictions each client has under way."""
    enough: int = 0
    patience_seconds: float = 120.0
    cancels: float = 0.03
    fetches: float = 0.1
    pictures: float = 0.1
    """The share of creates that send a picture of their own."""


@dataclass(slots=True)
class Swarm:
    orders: Orders
    created: int = 0
    stopping: bool = False
    _names: int = 0
    _log: Any = None
    _gave_up_at: float = field(default=float("inf"))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        with open_log(self.orders) as self._log:
            await asyncio.gather(*(self._client(n) for n in range(self.orders.clients)))

    def stop(self) -> None:
        self.stopping = True
        self._gave_up_at = time.monotonic() + self.orders.patience_seconds

    @property
    def creating(self) -> bool:
        return not self.stopping and (not self.orders.enough or self.created < self.orders.enough)

    async def _client(self, number: int) -> None:
        choose = random.Random(f"{self.orders.seed}-{number}")
        api = Api(self.orders.port, self.orders.keys[number % len(self.orders.keys)])
        waiting: list[str] = []
        while self.creating or waiting:
            if self.creating and len(waiting) < self.orders.depth:
                await self._create(api, choose, waiting)
            elif not await self._look(api, choose, waiting):
                await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() > self._gave_up_at:
                break
        api.close()

    async def _create(self, api: Api, choose: random.Random, waiting: list[str]) -> None:
        self._names += 1
        name = f"swarm-{self._names}"
        manner = "works" if choose.random() < 0.8 else "fast"
        wish: dict[str, Any] = {"prompt": f"{manner} {name}", "num_inference_steps": 2}
        if choose.random() < self.orders.pictures:
            wish["image"] = PICTURE
        asked = {"model": self.orders.model, "input": wish}
        self._tell("create", name=name)
        try:
            answer = await api.ask("POST", PATH, asked)
        except BROKEN as error:
            self._tell("unknown", name=name, error=type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)
            return
        if answer.status != 200:
            self._tell("refused", name=name, **answer.told())
            await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, answer.retry_after))
            return
        self.created += 1
        prediction = str(answer.content["predictionID"])
        self._tell("created", name=name, id=prediction, status=200, seconds=round(answer.seconds, 4))
        waiting.append(prediction)
        if choose.random() < self.orders.cancels:
            with suppress(*BROKEN):
                await self._ask(api, "POST", f"{PATH}/{prediction}/cancel")

    async def _look(self, api: Api, choose: random.Random, waiting: list[str]) -> bool:
        """Ask for the one that was asked for longest ago; whether it has ended."""
        prediction = waiting.pop(0)
        try:
            answer = await self._ask(api, "GET", f"{PATH}/{prediction}")
        except BROKEN:
            waiting.append(prediction)
            return False
        if answer.status == 200 and answer.content["status"] in ENDED:
            self._tell("ended", id=prediction, status=answer.content["status"])
            if answer.content["status"] == "success" and choose.random() < self.orders.fetches:
                await self._fetch(api, prediction, str(answer.content["output"]))
            return True
        waiting.append(prediction)
        return False

    async def _fetch(self, api: Api, prediction: str, url: str) -> None:
        with suppress(*BROKEN):
            answer = await self._ask(api, "GET", "/" + url.split("/", 3)[3])
            if answer.status == 200:
                self._tell("fetched", id=prediction, status=200, bytes=answer.length)

    async def _ask(self, api: Api, method: str, path: str) -> Answer:
        answer = await api.ask(method, path)
        if answer.status != 200:
            self._tell("answer", method=method, path=path.partition("?")[0], **answer.told())
        return answer

    def _tell(self, event: str, **fields: Any) -> None:
        self._log.write(json.dumps({"at": time.time(), "event": event, **fields}) + "\n")


def open_log(orders: Orders) -> TextIO:
    """Written line by line, so that what is read of it is whole."""
    return Path(orders.log).open("a", buffering=1)


def main() -> None:
    told = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(Swarm(Orders(**{**told, "keys": tuple(told["keys"])})).run())


def write_orders(path: Path, orders: Orders) -> None:
    path.write_text(json.dumps(asdict(orders)))


if __name__ == "__main__":
    main()
