"""Measure what a job costs the device's thread outside the model: claim, hand-over and bookkeeping between two renders.

A real drain and finisher work off predictions over private servers, with a pipeline that draws at once. Printed are the
times from the end of one render to the beginning of the next, and the transactions that a prediction costs the database
(half of them are the pool's asking whether a connection is alive).
"""

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import numpy as np
from alembic import command
from sqlalchemy import text

from fluxfarm import admission, inputs, keys, tenants
from fluxfarm.admission import Request, Rules
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.inputs import Order
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.plans import Plan
from fluxfarm.safety_policy import Ruling
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from fluxfarm.storage import open_store
from fluxfarm.upkeep import WorkerIdentity
from worker.drain import Drain, Parts, Serving
from worker.finisher import Finisher
from worker.lease import LeaseKeeper
from worker.pipelines import Rendered, RenderOrder, Watch
from worker.prepare import Preparer

GOAL_MILLISECONDS = 5.0
WARM_UP = 20
"""Renders that are not counted: connections are opened and statements prepared meanwhile."""

COMMITS = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")


class Instant:
    """Draws at once, in `seconds` of pretended work, and notes when it began and ended."""

    device = "none"
    made_with: Mapping[str, str] = MappingProxyType({})

    def __init__(self, side: int, seconds: float) -> None:
        self._pixels = np.zeros((side, side, 3), np.uint8)
        self._seconds = seconds
        self.began: list[float] = []
        self.ended: list[float] = []

    def warm(self) -> None:
        pass

    def prompt_notice(self, _prompt: str) -> str | None:
        return None

    def render(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        self.began.append(time.perf_counter())
        watch.stage(Stage.ENCODE_PROMPT)
        watch.stage(Stage.STEP)
        time.sleep(self._seconds)
        watch.step(0, order.steps, order.steps)
        watch.stage(Stage.DECODE)
        self.ended.append(time.perf_counter())
        yield Rendered(0, order.seeds[0], self._pixels, self._seconds)

    def gaps(self) -> list[float]:
        """Milliseconds between renders."""
        return [1000 * (began - ended) for ended, began in zip(self.ended, self.began[1:], strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--predictions", type=int, default=200, help="how many are counted (default: 200)")
    parser.add_argument("--side", type=int, default=128, help="side of the pictures drawn, in pixels (default: 128)")
    parser.add_argument(
        "--render-ms",
        type=float,
        default=20.0,
        help="how long each render pretends to take; much less, and encoding holds it up (default: 20)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    figures = measure(arguments.predictions, side=arguments.side, seconds=arguments.render_ms / 1000)
    for name, value in figures.items():
        print(f"{name:32}{value:10.2f}")
    print(f"{'goal, median milliseconds':32}{GOAL_MILLISECONDS:10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(predictions: int, *, side: int, seconds: float) -> dict[str, float]:
    """Figures by name."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fluxfarm-")))
        server = stack.enter_context(PrivatePostgres(directory / "postgres"))
        settings = Settings(
            database_url=server.url,
            data_dir=directory,
            weights=(("flux-dev", "flux-tiny"),),
            enlarge_stand_ins=False,
        )
        command.upgrade(alembic_config(settings.require_database_url()), "head")
        database = Database(settings.require_database_url(), pool_size=3)
        stack.callback(database.close)
        pipeline = Instant(side, seconds)
        model = load_catalog(settings).model("flux-dev")
        admit(database, model, predictions + WARM_UP)
        before = commits(database)
        drain_all(database, model, pipeline, settings)
        spent = commits(database) - before
    return summary(pipeline.gaps()[WARM_UP:], spent / (predictions + WARM_UP))


def admit(database: Database, model: Model, n: int) -> None:
    admit_orders(database, model, [inputs.parse(model, {"prompt": "a red circle"})] * n)


def admit_orders(database: Database, model: Model, orders: Sequence[Order]) -> None:
    """Queue a prediction for each, of one key that may have them all."""
    n = len(orders)
    with database.session_scope() as session:
        tenants.ensure(session, "benchmark", by="test")
        limits = {"creates_per_minute": 10 * n, "max_active": n}
        key = keys.issue(session, tenant="benchmark", settings=limits, by="benchmark").key
    with database.session_scope() as session:
        caller = keys.authenticate(session, key)
    for order in orders:
        plan = Plan.of(order, kept={}, ruling=Ruling())
        asked = Request(uuid.uuid4(), caller, model, plan, order.echo, "benchmark")
        with database.session_scope() as session:
            admission.admit(session, asked, Rules(max_queued=n))


def drain_all(database: Database, model: Model, pipeline: Instant, settings: Settings) -> None:
    identity = WorkerIdentity(uuid.uuid4(), model.slug, model.version, "benchmark", 1, pipeline.device)
    lease_database = Database(settings.require_database_url(), pool_size=1)
    store = open_store(settings)
    with (
        LeaseKeeper(lease_database, [identity], settings.lease_seconds) as keeper,
        Finisher(database, store, keeper, None) as finisher,
    ):
        preparer = Preparer({model.slug: model}, store, settings)
        servings = [Serving(model, pipeline, identity.id)]
        Drain(Parts(servings, database, keeper, preparer, finisher), settings).drain()
    lease_database.close()


def commits(database: Database) -> int:
    """As the server counts them; it hears of a connection's last ones within a second."""
    time.sleep(1.5)
    with database.session_scope() as session:
        return int(session.execute(COMMITS).scalar_one())


def summary(gaps: Sequence[float], transactions_per_job: float) -> dict[str, float]:
    cuts = statistics.quantiles(gaps, n=100)
    return {
        "predictions": len(gaps) + 1,
        "median milliseconds": statistics.median(gaps),
        "p90 milliseconds": cuts[89],
        "p99 milliseconds": cuts[98],
        "transactions per prediction": transactions_per_job,
    }


if __name__ == "__main__":
    main()
