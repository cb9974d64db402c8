"""The tutorial service's Celery: one task that does nothing, its result kept in Redis.

Its options are those of fluxfarm's own Celery, so that neither side wins by a setting.
"""

import os
from typing import Any

import celery

from fluxfarm.queue import celery_app
from fluxfarm.settings import Settings

QUEUE = "bare"

settings = Settings.from_environment(os.environ)


def make_app(*, consumer: bool, results: bool) -> celery.Celery:
    """The application; the web side publishes and the worker's consumes, as in fluxfarm."""
    made = celery_app(settings, consumer=consumer)
    backend = settings.require_redis_url() if results else "disabled://"
    made.conf.update(task_ignore_result=False, result_backend=backend, task_default_queue=QUEUE)
    return made


app = make_app(consumer=True, results=True)


@app.task(name="draw")  # type: ignore[untyped-decorator]  # Celery is untyped
def draw(_wanted: dict[str, Any]) -> str:
    return "https://localhost/picture.webp"
