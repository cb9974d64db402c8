"""A key's feed, where the rows are quicker than what is told."""

import json
import uuid
from collections.abc import Iterator

import pytest
import redis

from api.doors import eachlabs_feed
from api.doors.eachlabs_feed import Feed
from api.seen import Answer
from fluxfarm.announce import Announcer
from fluxfarm.lookup import Standing
from fluxfarm.moves import Moved, Word
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.status import Status
from fluxfarm.told import Events, Told
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


def test_who_comes_back_is_told_what_moved_just_before_the_rows_were_looked_at(client: redis.Redis) -> None:
    queued, started = uuid.uuid4(), uuid.uuid4()
    events = Events(client)
    last = events.follow_key("key")
    feed = Feed("key", events, answer, lambda: {queued: Status.QUEUED, started: Status.PROCESSING})
    assert feed.begin(last) == []
    assert feed.told() == []
    assert feed.of_rows() == []
    moves = [Moved(queued, "key", 0, Word.QUEUED), Moved(started, "key", 1, Word.STARTED)]
    told = tell(client, feed, *moves, Moved(started, "key", 1, Word.PROGRESS, 1, 1, STEPS))
    assert [each.name for one in told for each in feed.passed_on(one)] == ["queued", "started", "progress"]
    assert feed.of_rows() == []


def test_who_is_too_far_behind_begins_anew(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = uuid.uuid4()
    feed = Feed("key", Events(client), answer, lambda: {prediction: Status.PROCESSING})
    feed.begin(None)
    tell(client, feed, *[Moved(prediction, "key", 1, Word.PROGRESS, 1, step, STEPS) for step in (1, 2, 3)])
    monkeypatch.setattr(eachlabs_feed, "MOST_KEPT_OF_KEY", 3)
    assert feed.told() == []
    (snapshot,) = feed.begin(None)
    assert (snapshot.name, snapshot.data) == (
        "snapshot",
        {"predictions": [{"id": str(prediction), "status": "processing"}]},
    )
    assert feed.told() == []
    assert feed.begin(None) == []


def answer(prediction: uuid.UUID) -> Answer:
    standing = Standing(Status.QUEUED, 1, 0, None, None, None, None)
    return Answer(prediction, prediction, standing, json.dumps({"id": str(prediction), "queue": {}}), None, 0.0)


def tell(client: redis.Redis, feed: Feed, *moves: Moved) -> list[Told]:
    """Tell it, and what is then told of it."""
    with Announcer(client) as announcer:
        announcer.tell(moves)
        found: list[Told] = wait_until(lambda: len(found := feed.told() or []) == len(moves) and found)
    return found
