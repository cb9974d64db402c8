"""A token is put after the commit of what it tells of, and none is put for what was refused."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from fluxfarm.keys import IssuedKey
from fluxfarm.queue import queue_name, redis_client
from fluxfarm.settings import Settings
from tests.api import Api, Client, Description
from tests.contract.conftest import NewClient
from tests.farm import tokens_waiting
from tests.processes import wait_until

WAITS = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'fluxfarm api' AND wait_event_type = 'Lock'"
SLUG = "unserved"
"""Nobody works for this model, so what is in its queue is what the API put there."""


@pytest.fixture(autouse=True)
def empty_queue(farm: Settings) -> None:
    client = redis_client(farm)
    client.delete(queue_name(SLUG))
    client.close()


def test_no_token_is_put_before_the_row_is_there(
    api: Api, described: Description, new_key: Callable[..., IssuedKey], farm: Settings
) -> None:
    key = new_key()
    url = str(farm.database_url)
    with (
        Client(api.url, described, key.key) as client,
        psycopg.connect(url, autocommit=True) as looker,
        psycopg.connect(url) as holder,
    ):
        holder.execute("SELECT 1 FROM api_keys WHERE id = %s FOR UPDATE", [key.id])
        creating = threading.Thread(target=client.create, args=(SLUG,))
        creating.start()
        wait_until(lambda: looker.execute(WAITS).fetchall())
        assert tokens_waiting(farm, SLUG) == 0
        holder.rollback()
        creating.join()
    assert tokens_waiting(farm, SLUG) == 1


def test_no_token_is_put_for_what_was_refused(new_client: NewClient, farm: Settings) -> None:
    client = new_client(max_active=1)
    client.create(SLUG)
    assert client.try_create(SLUG).status_code == 429
    assert tokens_waiting(farm, SLUG) == 1
