"""`python -m benchmarks.eta`: what clients are told to expect, beside what comes true.

One worker draws with the small weights that fluxfarm ships, for two tenants at once, what a seeded chance asks for:
pictures of all sizes, 4 to 28 steps, one to four of them, now and then more than the worker can do. Each prediction is
read right after it was created, and a second later, when all that came with it has been seen; what these reads expect
is compared with when the prediction ended. With `--paced` the worker draws nothing, but takes its time as FLUX.1 [dev]
would, so that a busy machine says less of it.
"""

import argparse
import dataclasses
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from alembic import command

from benchmarks import paced_flux
from benchmarks.servers import GUNICORN, Servers, wait_until
from fluxfarm import keys, tenants
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.local.server import free_port
from fluxfarm.settings import Settings

PROMPT = "a small red star at the top left on a blue background"
RATIOS = ("1:1", "16:9", "9:16", "4:5", "3:2")
MEGAPIXELS = ("1", "1", "0.25")
WARMING = 12
"""Predictions before the first that counts, so that the model's rate is measured."""
MEASURED = "SELECT count(*) FROM model_queues WHERE pixel_step_microseconds IS NOT NULL"
AIM = 0.25
LATER_SECONDS = 1.2
"""More than what is known of a queue may be old."""
LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One prediction, in seconds since it was read first."""

    position: int
    told: float
    came: float
    late: bool
    """Read a second after it was created."""

    @property
    def error(self) -> float:
        return abs(self.told - self.came) / self.came


class Client:
    """One tenant's."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["X-API-Key"] = key

    def create(self, model: str, asked: dict[str, Any]) -> str:
        answer = self._session.post(f"{self._url}/v1/prediction/", json={"model": model, "input": asked}, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["predictionID"])

    def read(self, prediction: str, *, wait: int = 0) -> dict[str, Any]:
        path = f"{self._url}/v1/prediction/{prediction}?wait={wait}"
        answer = self._session.get(path, timeout=wait + 10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def cancel(self, prediction: str) -> None:
        self._session.post(f"{self._url}/v1/prediction/{prediction}/cancel", timeout=10).raise_for_status()

    def events(self, prediction: str) -> Iterator[str]:
        """The names of its events, as they happen."""
        path = f"{self._url}/v1/prediction/{prediction}/events"
        with requests.get(path, headers=self._session.headers, stream=True, timeout=60) as answer:
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    yield line.removeprefix("event: ")

    def ended(self, prediction: str) -> dict[str, Any]:
        deadline = time.monotonic() + LONGEST_SECONDS
        while (found := self.read(prediction, wait=30))["status"] in ("starting", "processing"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{prediction} did not end")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eta", description=__doc__)
    parser.add_argument("--predictions", type=int, default=80)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--paced", action="store_true", help="draw nothing, at the pace of FLUX.1 [dev]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fluxfarm-eta-") as directory, Servers(Path(directory)) as servers:
        settings = paced(servers.settings(), Path(directory)) if options.paced else small(servers.settings())
        found = measure(servers, settings, options.predictions, random.Random(options.seed))
    sys.exit(0 if tell(found) else 1)


def small(settings: Settings) -> Settings:
    """The weights that fluxfarm ships."""
    return dataclasses.replace(settings, catalog=None, models=("flux-dev",), weights=(("flux-dev", "flux-tiny"),))


def paced(settings: Settings, directory: Path) -> Settings:
    catalogue = directory / "paced.toml"
    catalogue.write_text(paced_flux.CATALOGUE)
    return dataclasses.replace(settings, catalog=catalogue, models=(paced_flux.SLUG,))


def measure(servers: Servers, settings: Settings, predictions: int, chance: random.Random) -> list[Expectation]:
    clients, (model,) = start(servers, settings), settings.models
    for _ in range(WARMING):
        clients[0].ended(clients[0].create(model, wish(chance)))
    wait_until(lambda: measured(servers))
    asked, again = [], []
    with ThreadPoolExecutor(1) as aside:
        for seconds in pauses(predictions, chance):
            time.sleep(seconds)
            client = chance.choice(clients)
            prediction = client.create(model, wish(chance))
            asked.append((client, prediction, look(client, prediction)))
            again.append(aside.submit(look, client, prediction, time.monotonic() + LATER_SECONDS))
    found = []
    for (client, prediction, first), second in zip(asked, again, strict=True):
        ended = datetime.fromisoformat(client.ended(prediction)["completed_at"])
        looks = ((first, False), (second.result(), True))
        found += [each.against(ended, late=late) for each, late in looks if each]
    return found


@dataclass(frozen=True, slots=True)
class Look:
    """What one read told, and when."""

    at: datetime
    position: int
    eta_seconds: float

    def against(self, ended: datetime, *, late: bool) -> Expectation:
        return Expectation(self.position, self.eta_seconds, (ended - self.at).total_seconds(), late)


def look(client: Client, prediction: str, due: float = 0.0) -> Look | None:
    """Read it once it is time; None if it has ended."""
    time.sleep(max(0.0, due - time.monotonic()))
    queue = client.read(prediction)["queue"]
    return Look(datetime.now(UTC), queue["position"], queue["eta_seconds"]) if queue else None


def start(servers: Servers, settings: Settings) -> list[Client]:
    """The API, a worker of the only model and maintenance; a client for each of two tenants."""
    command.upgrade(alembic_config(settings.require_database_url()), "head")
    issued = [new_key(settings, name) for name in ("one", "other")]
    port = free_port()
    servers.start("api", *GUNICORN, "api.wsgi:app", "--bind", f"127.0.0.1:{port}", settings=settings)
    servers.start("maintenance", "worker.maintenance", settings=settings)
    log = servers.start("worker", "worker", "--model", settings.models[0], settings=settings)
    wait_until(lambda: "worker ready" in log.read_text())
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(url))
    return [Client(url, key) for key in issued]


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).ok
    except requests.ConnectionError:
        return False


def measured(servers: Servers) -> bool:
    with servers.sql() as connection:
        row = connection.execute(MEASURED).fetchone()
    return row is not None and row[0] > 0


def new_key(settings: Settings, tenant: str) -> str:
    limits = {"creates_per_minute": 10_000, "reads_per_minute": 100_000, "max_active": 1000}
    database = Database(settings.require_database_url(), pool_size=1)
    with database.session_scope() as session:
        tenants.ensure(session, tenant, by="benchmark")
        issued = keys.issue(session, tenant=tenant, settings={"name": "benchmark", **limits}, by="benchmark")
    database.close()
    return issued.key


def wish(chance: random.Random) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "aspect_ratio": chance.choice(RATIOS),
        "megapixels": chance.choice(MEGAPIXELS),
        "num_inference_steps": chance.randint(4, 28),
        "num_outputs": chance.randint(1, 4),
    }


def pauses(predictions: int, chance: random.Random) -> Iterator[float]:
    """Rushes, each of a tenth of all at once, and single ones between them."""
    for number in range(predictions):
        rush = number // max(1, predictions // 10) % 2 == 0
        yield 0.0 if rush else chance.expovariate(1.0)


def tell(found: Sequence[Expectation]) -> bool:
    """Print how well it was told; whether the median is within the aim."""
    at_once, late = ([each for each in found if each.late is late] for late in (False, True))
    print("read at once")
    error = _tell(at_once)
    print("read a second later")
    _tell(late)
    return error <= AIM


def _tell(found: Sequence[Expectation]) -> float:
    print("expected    came     of  median error")
    bands = {"next": (0, 2), "2 to 10": (2, 11), "11 and on": (11, 10**9)}
    for name, (first, end) in bands.items():
        band = [each for each in found if first <= each.position < end]
        if band:
            told, came = (statistics.median(getattr(each, part) for each in band) for part in ("told", "came"))
            print(f"{told:7.1f} s {came:6.1f} s {len(band):4}  {statistics.median(e.error for e in band):6.0%}  {name}")
    error = statistics.median(each.error for each in found)
    print(f"median error of {len(found)} expectations: {error:.0%} (aim: {AIM:.0%})")
    return error


if __name__ == "__main__":
    main()
