"""The Celery worker of a process's models: a token starts a drain. `worker.__main__` puts it together."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import celery
from celery import bootsteps
from celery.signals import worker_shutting_down

from fluxfarm.queue import TASK, celery_app, queue_name
from fluxfarm.settings import Settings
from worker.drain import Drain


def consume(models: Iterable[str], drain: Drain, settings: Settings, *, begin: Callable[[], None]) -> None:
    """Take tokens of the models' queues until the process is told to stop; `begin` is called once that can be told."""
    app: celery.Celery = celery_app(settings, consumer=True)
    # In a container the only account may be root; it is the operator's choice.
    warnings.filterwarnings("ignore", module=r"celery\.platforms")

    class Begin(bootsteps.StartStopStep):  # type: ignore[misc]
        def start(self, _parent: Any) -> None:
            # At each lost connection Celery would tell of an option that is set. It wants its warnings to be heard,
            # and says so when it sets up its log; this comes after.
            warnings.filterwarnings("ignore", module=r"celery\.worker\.consumer", category=PendingDeprecationWarning)
            begin()

    app.steps["worker"].add(Begin)

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def token(_model: str) -> None:
        drain.drain()

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_: Any) -> None:
        drain.stop()

    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={','.join(map(queue_name, models))}",
            # CUDA does not survive a fork, and one process owns one device.
            "--pool=solo",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=warning",
        ]
    )
