"""`python -m worker --model SLUG`: load one pipeline onto one device, then render what is queued for it."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable

from fluxfarm import checkers
from fluxfarm.announce import CANCELS, Announcer, Doorbell
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.database import Database
from fluxfarm.errors import FluxfarmError, Unavailable
from fluxfarm.previews import Previews
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.storage import open_store
from fluxfarm.telemetry import configure_logging
from fluxfarm.upkeep import WorkerIdentity
from worker import app, pipelines
from worker.drain import Drain, Parts
from worker.finisher import Finisher
from worker.lease import LeaseKeeper
from worker.pipelines import Check, DeviceOptions, Pipeline, Pixels, Verdict
from worker.prepare import Preparer
from worker.previewer import Previewer
from worker.watchdog import Watchdog

log = logging.getLogger("fluxfarm")

START_PAUSE_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="fluxfarm worker", description=__doc__)
    parser.add_argument("--model", required=True, help="the model to serve")
    arguments = parser.parse_args()
    # Until Celery has its own, a wish to stop ends the process at once; it holds nothing before that.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        settings = Settings.from_environment(os.environ)
        configure_logging(settings.log_level)
        serve(load_catalog(settings).model(arguments.model), settings)
    except FluxfarmError as error:
        log.critical("the worker cannot start", extra={"fields": {"code": error.code, "reason": error.message}})
        sys.exit(1)


def serve(model: Model, settings: Settings) -> None:
    """Load, warm, report, and work until told to stop."""
    identity = _new_identity(model)
    url, announcer = settings.require_database_url(), Announcer(redis_client(settings))
    database = Database(url, pool_size=3, application="fluxfarm worker", tell=announcer.tell)
    lease_database = Database(url, pool_size=1, application="fluxfarm lease", tell=announcer.tell)
    keeper = LeaseKeeper(lease_database, identity, settings.lease_seconds)
    cancels = Doorbell(redis_client(settings), CANCELS)
    threading.Thread(target=cancels.listen, args=(keeper.hear, keeper.beat_soon), name="cancels", daemon=True).start()
    with announcer, keeper:
        pipeline, check = _load(model, settings)
        store = open_store(settings)
        _once_available("store", store.probe)
        keeper.loaded(pipeline.device)
        _once_available("database", keeper.show_life)
        with Finisher(database, store, keeper, check, metadata=settings.picture_metadata) as finisher:
            preparer = Preparer(model, store, settings)
            previewer = Previewer(Previews(redis_client(settings)), check, metadata=settings.picture_metadata)
            tell = announcer.tell
            parts = Parts(model, pipeline, database, keeper, preparer, finisher, identity.id, tell, previewer)
            drain = Drain(parts, settings)

            def begin() -> None:
                threading.Thread(target=drain.look_now_and_then, name="idle look", daemon=True).start()
                log.info("worker ready", extra={"fields": {"model": model.slug, "device": pipeline.device}})

            _until_stopped(lambda: app.consume(model.slug, drain, settings, begin=begin))
            asked = drain.stopping and not drain.broken
            drain.stop()
            drain.settle()
    if not asked:
        sys.exit(os.EX_SOFTWARE)


def _new_identity(model: Model) -> WorkerIdentity:
    return WorkerIdentity(
        id=uuid.uuid4(),
        model=model.slug,
        version=model.version,
        host=socket.gethostname(),
        pid=os.getpid(),
        device="",
        loading=True,
    )


def _once_available(part: str, ask: Callable[[], None]) -> None:
    """A part that is away at the start is waited for, as it would be later."""
    away = False
    while True:
        try:
            return ask()
        except Unavailable as error:
            if not away:
                log.warning("part is away", extra={"fields": {"part": part, "reason": error.message}})
            away = True
            time.sleep(START_PAUSE_SECONDS)


def _load(model: Model, settings: Settings) -> tuple[Pipeline, Check | None]:
    watchdog = Watchdog()
    watchdog.arm(settings.load_limit_seconds)
    pipeline = pipelines.load(model, DeviceOptions.of(settings))
    pipeline.warm()
    check = _checker(model, settings)
    watchdog.disarm()
    return pipeline, check


def _checker(model: Model, settings: Settings) -> Check | None:
    loaded = [
        pipelines.load_safety_checker(location, labels=settings.safety_labels, threshold=settings.safety_threshold)
        for location in checkers.locations(model, settings)
    ]
    if not loaded:
        return None

    def check(pixels: Pixels) -> Verdict:
        verdicts = [checker.check(pixels) for checker in loaded]
        return next((verdict for verdict in verdicts if verdict.blocked), verdicts[0])

    return check


def _until_stopped(consume: Callable[[], None]) -> None:
    try:
        consume()
    except SystemExit:
        # Celery's way of saying that it has stopped.
        return


if __name__ == "__main__":
    main()
