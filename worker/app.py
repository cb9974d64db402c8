"""The Celery worker of one model: a token starts a drain. Loads nothing itself; `worker.__main__` puts it together."""

from typing import Any

import celery
from celery.signals import worker_shutting_down

from fluxfarm.queue import TASK, celery_app, queue_name
from fluxfarm.settings import Settings
from worker.drain import Drain


def consume(model: str, drain: Drain, settings: Settings) -> None:
    """Take tokens of the model's queue until the process is told to stop."""
    app: celery.Celery = celery_app(settings, consumer=True)

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def token(_model: str) -> None:
        drain.drain()

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_: Any) -> None:
        drain.stop()

    app.worker_main(
        [
            "worker",
            f"--queues={queue_name(model)}",
            # CUDA does not survive a fork, and one process owns one device.
            "--pool=solo",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=warning",
        ]
    )
