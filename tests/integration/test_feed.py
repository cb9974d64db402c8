"""A key's feed, where the rows are quicker than what is told."""

import uuid
from collections.abc import Iterator

import pytest
import redis

from api.doors.eachlabs_feed import Feed
from api.seen import Answer
from fluxfarm.announce import Announcer
from fluxfarm.lookup import Standing
from fluxfarm.moves import Moved, Word
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.status import Status
from fluxfarm.told import Events
from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("clean_redis")

STEPS = {"steps": 2, "pictures": 1, "seconds": 1.0}


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


def test_nothing_is_told_after_an_end_that_its_row_told(client: redis.Redis) -> None:
    prediction, rows = uuid.uuid4(), {}
    rows[prediction] = Status.PROCESSING
    ended = Answer(prediction, prediction, Standing(Status.SUCCEEDED, 2, 1, None, None, None, None), "{}", None, 0.0)
    events = Events(client)
    feed = Feed("key", events, lambda _: ended, lambda: rows)
    assert [each.name for each in feed.begin(None)] == ["snapshot"]
    with Announcer(client) as announcer:
        announcer.tell([Moved(prediction, "key", 1, Word.PROGRESS, 1, 2, STEPS)])
        announcer.tell([Moved(prediction, "key", 1, Word.SUCCEEDED)])
        told = wait_until(lambda: len(found := feed.told() or []) == 2 and found)
    rows.clear()
    assert [each.name for each in feed.of_rows()] == ["succeeded"]
    assert [each for one in told for each in feed.passed_on(one)] == []
