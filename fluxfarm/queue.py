"""Celery's configuration and `put`: a token in a model's queue says only "there is work for this model".

Losing, doubling or delaying a token is harmless, for only a claim moves a row. Each option below prevents a failure.
"""

from typing import Any

import celery
import kombu.exceptions
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fluxfarm.breaker import AWAY, Breaker
from fluxfarm.settings import Settings

TASK = "fluxfarm.drain"
QUEUE_PREFIX = "fluxfarm:"

# So many waiting tokens wake whoever is idle; more would only lengthen the list. One that waits after the commit is
# taken after it, so that whoever takes it sees the row.
ENOUGH_TOKENS = 16

# A put must never hold up a create: the row is safe, and the maintenance loop puts the token again.
PUBLISH_SECONDS = 0.5

# In a rush calls take turns: each connection has its memory, and one too many would pass for Redis being away.
MOST_CONNECTIONS = 20
LONGEST_TURN_SECONDS = 2.0


def queue_name(model: str) -> str:
    return QUEUE_PREFIX + model


def celery_app(settings: Settings, *, consumer: bool) -> celery.Celery:
    """The Celery application; a consumer waits for the broker for ever, a publisher gives up at once."""
    app = celery.Celery("fluxfarm", broker=settings.require_redis_url(), set_as_current=consumer)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_create_missing_queues=True,
        # The lease is what protects work, not the broker: a token is acknowledged when it is taken.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        # Control lives in Postgres; whoever can write to Redis must not control workers.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Without a limit, a publisher waits for ever for a connection from the pool.
        broker_pool_acquire_timeout=2,
        broker_connection_timeout=5 if consumer else PUBLISH_SECONDS,
        broker_transport_options={
            # With acknowledgements emulated, one connection cut during an acknowledgement stalls a worker for good.
            "ack_emulation": False,
            "health_check_interval": 10,
            "socket_keepalive": True,
            "socket_connect_timeout": 5 if consumer else PUBLISH_SECONDS,
            # kombu would sleep for two seconds before it gives up, whatever the time limits.
            **({} if consumer else {"socket_timeout": PUBLISH_SECONDS, "max_retries": 0}),
        },
    )
    return app


class TokenQueue:
    """Puts tokens. While Redis is away nothing happens, at once."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings, consumer=False)
        self._redis: redis.Redis = redis_client(settings)
        self._breaker = Breaker("queue", (*AWAY, kombu.exceptions.OperationalError))

    def put(self, model: str, *, copies: int = 1, enough: int = ENOUGH_TOKENS) -> bool:
        """Put tokens for a model until `enough` wait, after the commit of what they tell of; False if Redis is away."""

        def publish() -> bool:
            waiting: Any = self._redis.llen(queue_name(model))
            for _ in range(min(copies, enough - waiting)):
                self._app.send_task(TASK, args=[model], queue=queue_name(model), retry=False, ignore_result=True)
            return True

        return self._breaker.call(publish) or False


def redis_client(settings: Settings) -> redis.Redis:
    """A client that gives up soon: everything we ask of Redis beside the broker can be done without."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.require_redis_url(),
        max_connections=MOST_CONNECTIONS,
        timeout=LONGEST_TURN_SECONDS,
        socket_connect_timeout=PUBLISH_SECONDS,
        socket_timeout=PUBLISH_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=10,
    )
    return redis.Redis.from_pool(pool)
