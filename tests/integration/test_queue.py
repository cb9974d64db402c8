"""Tokens in a real Valkey, and the settings without which Celery on Redis loses or stalls."""

import base64
import json
import socket
import threading
import time

import pytest

from fluxfarm.queue import PUBLISH_SECONDS, TASK, TokenQueue, celery_app, queue_name, redis_client
from fluxfarm.settings import Settings
from tests.farm import tokens_waiting


@pytest.mark.usefixtures("clean_redis")
def test_a_token_names_its_model_and_nothing_else(settings: Settings) -> None:
    tokens = TokenQueue(settings)
    assert tokens.put("flux-dev", copies=2)
    assert tokens_waiting(settings, "flux-dev") == 2
    assert tokens_waiting(settings, "another") == 0
    client = redis_client(settings)
    raw = client.lrange(queue_name("flux-dev"), 0, 0)[0]
    client.close()
    message = json.loads(raw)
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == TASK
    assert json.loads(base64.b64decode(message["body"]))[:2] == [["flux-dev"], {}]
    assert message["headers"]["eta"] is message["headers"]["expires"] is None
    assert message["headers"]["retries"] == 0


@pytest.mark.parametrize("consumer", [True, False])
def test_each_option_that_prevents_a_failure_is_set(settings: Settings, *, consumer: bool) -> None:
    conf = celery_app(settings, consumer=consumer).conf
    options = conf.broker_transport_options
    assert options["ack_emulation"] is False
    assert options["health_check_interval"] == 10
    assert options["socket_keepalive"] is True
    assert ("socket_timeout" in options) is not consumer, "a consumer waits; a publisher must not"
    assert list(conf.accept_content) == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None
    assert conf.task_ignore_result is True
    assert conf.task_acks_late is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_enable_remote_control is False
    assert conf.worker_send_task_events is False
    assert conf.worker_redirect_stdouts is False
    assert conf.worker_hijack_root_logger is False
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.broker_connection_retry_on_startup is True
    assert conf.broker_connection_max_retries is None
    assert conf.broker_pool_acquire_timeout == 2


def test_a_put_into_nothing_says_so_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    tokens = TokenQueue(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
    began = time.monotonic()
    assert tokens.put("flux-dev") is False
    assert time.monotonic() - began < 2 * PUBLISH_SECONDS


def test_a_put_into_a_black_hole_costs_the_first_caller_its_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tokens = TokenQueue(Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        began = time.monotonic()
        assert tokens.put("flux-dev") is False
        assert time.monotonic() - began < 4 * PUBLISH_SECONDS
        began = time.monotonic()
        for _ in range(50):
            assert tokens.put("flux-dev") is False
        assert time.monotonic() - began < PUBLISH_SECONDS / 2


def test_many_callers_who_find_a_black_hole_at_once_are_all_told_no() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        tokens = TokenQueue(Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        heard: list[object] = []

        def put() -> None:
            try:
                heard.append(tokens.put("flux-dev"))
            except Exception as error:  # noqa: BLE001 (shown below)
                heard.append(error)

        callers = [threading.Thread(target=put) for _ in range(30)]
        began = time.monotonic()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert heard == [False] * 30
        assert time.monotonic() - began < 5
