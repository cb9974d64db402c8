"""Who tells and who hears go on, whatever one announcement does to them."""

import threading
import uuid
from collections.abc import Iterator

import pytest
import redis

from fluxfarm.announce import Announcer, Doorbell, Ring
from fluxfarm.moves import Moved, Word
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.told import Events
from tests.processes import wait_until


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    made = redis_client(settings)
    yield made
    made.close()


def started(**more: object) -> Moved:
    return Moved(uuid.uuid4(), "key", 1, Word.STARTED, more=more)


def test_what_cannot_be_told_silences_nobody(settings: Settings, client: redis.Redis) -> None:
    broken, next_one = started(unspeakable=object()), started()
    with Announcer(client) as announcer:
        announcer.tell([broken])
        wait_until(lambda: not announcer._waiting)
        announcer.tell([next_one])
        wait_until(lambda: Events(client).first_kept(str(next_one.prediction)))


def test_a_doorbell_that_breaks_is_hung_up_again_and_says_so(settings: Settings, client: redis.Redis) -> None:
    heard: list[Ring] = []
    states: list[bool] = []

    def hear(ring: Ring) -> None:
        heard.append(ring)
        if len(heard) == 1:
            raise ValueError(ring)

    doorbell = Doorbell(redis_client(settings))
    threading.Thread(target=doorbell.listen, args=(hear, lambda: states.append(doorbell.heard)), daemon=True).start()
    wait_until(lambda: states == [True])
    with Announcer(client) as announcer:
        first, second = started(), started()
        announcer.tell([first])
        wait_until(lambda: states == [True, False, True])
        announcer.tell([second])
        wait_until(lambda: [ring.prediction for ring in heard] == [str(first.prediction), str(second.prediction)])
