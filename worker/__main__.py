"""`python -m worker --model SLUG`: load one model onto one device, or several, then render what is queued for them."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from fluxfarm import checkers, starting
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
from worker.checking import Checking
from worker.drain import Drain, Parts, Serving
from worker.finisher import Finisher
from worker.lease import LeaseKeeper
from worker.making import makings
from worker.pipelines import DeviceOptions, Pipeline
from worker.prepare import Preparer
from worker.previewer import Previewer
from worker.watchdog import Watchdog

log = logging.getLogger("fluxfarm")

START_PAUSE_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="fluxfarm worker", description=__doc__)
    parser.add_argument("--model", required=True, action="append", help="the model to serve; may be given again")
    arguments = parser.parse_args()
    # Until Celery has its own, a wish to stop ends the process at once; it holds nothing before that.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        settings = Settings.from_environment(os.environ)
        configure_logging(settings.log_level)
        catalog = load_catalog(settings)
        serve([catalog.model(slug) for slug in dict.fromkeys(arguments.model)], settings)
    except FluxfarmError as error:
        for line in error.message.splitlines():
            log.critical("the worker cannot start", extra={"fields": {"code": error.code, "reason": line}})
        sys.exit(1)


def serve(models: Sequence[Model], settings: Settings) -> None:
    """Load, warm, report, and work until told to stop."""
    for model in models:
        starting.require(model, settings)
    identities = [_new_identity(model) for model in models]
    url, announcer = settings.require_database_url(), Announcer(redis_client(settings))
    database = Database(url, pool_size=3, application="fluxfarm worker", tell=announcer.tell)
    lease_database = Database(url, pool_size=1, application="fluxfarm lease", tell=announcer.tell)
    keeper = LeaseKeeper(lease_database, identities, settings.lease_seconds)
    cancels = Doorbell(redis_client(settings), CANCELS)
    threading.Thread(target=cancels.listen, args=(keeper.hear, keeper.beat_soon), name="cancels", daemon=True).start()
    with announcer, keeper:
        loaded, checking = _load(models, settings)
        store = open_store(settings)
        _once_available("store", store.probe)
        keeper.loaded(loaded[0].device)
        _once_available("database", keeper.show_life)
        made, metadata = makings(models, loaded), settings.picture_metadata
        with Finisher(database, store, keeper, checking, metadata=metadata, makings=made) as finisher:
            preparer = Preparer({model.slug: model for model in models}, store, settings, checking)
            previewer = Previewer(
                Previews(redis_client(settings)),
                checking.check if checking else None,
                metadata=settings.picture_metadata,
            )
            ids = [identity.id for identity in identities]
            servings = [Serving(*each) for each in zip(models, loaded, ids, strict=True)]
            parts = Parts(servings, database, keeper, preparer, finisher, announcer.tell, previewer)
            drain = Drain(parts, settings)

            def begin() -> None:
                threading.Thread(target=drain.look_now_and_then, name="idle look", daemon=True).start()
                for each in servings:
                    fields = {"model": each.model.slug, "device": each.pipeline.device}
                    log.info("worker ready", extra={"fields": fields})

            slugs = [model.slug for model in models]
            _until_stopped(lambda: app.consume(slugs, drain, settings, begin=begin))
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


def _load(models: Sequence[Model], settings: Settings) -> tuple[list[Pipeline], Checking | None]:
    watchdog, loaded = Watchdog(), []
    for model in models:
        watchdog.arm(settings.load_limit_seconds)
        loaded.append(pipelines.load(model, DeviceOptions.of(settings)))
        loaded[-1].warm()
    checking = _checking(models, settings)
    watchdog.disarm()
    return loaded, checking


def _checking(models: Sequence[Model], settings: Settings) -> Checking | None:
    """What every picture of this process must pass: the checkers of all its models."""
    locations = [*dict.fromkeys(each for model in models for each in checkers.locations(model, settings))]
    return Checking.of(locations, settings) if locations else None


def _until_stopped(consume: Callable[[], None]) -> None:
    try:
        consume()
    except SystemExit:
        # Celery's way of saying that it has stopped.
        return


if __name__ == "__main__":
    main()
