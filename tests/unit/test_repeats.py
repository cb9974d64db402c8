"""Two of the same create in one process go one after the other, and one that waited too long is told so."""

import time
import uuid

import gevent
import pytest
from gevent.event import Event

from api.repeats import UnderWay
from fluxfarm.errors import InFlight
from fluxfarm.retries import Repeatable

TENANT = uuid.uuid4()
FAR = float("inf")


def repeatable(key: str, tenant: uuid.UUID = TENANT) -> Repeatable:
    return Repeatable(tenant, b"", key)


def test_the_same_wait_for_one_another_and_others_do_not() -> None:
    under_way, order, go = UnderWay(), [], Event()

    def create(name: str, asked: Repeatable | None) -> None:
        with under_way.alone(asked, FAR):
            order.append(f"{name} begins")
            if name == "first":
                go.wait()
            order.append(f"{name} ends")

    calls = {"first": repeatable("k"), "again": repeatable("k"), "other": repeatable("l"), "plain": None}
    calls["another tenant's"] = repeatable("k", uuid.uuid4())
    running = [gevent.spawn(create, name, asked) for name, asked in calls.items()]
    gevent.idle()
    assert order[0] == "first begins"
    assert "again begins" not in order
    assert {"other ends", "plain ends", "another tenant's ends"} <= set(order)
    go.set()
    gevent.joinall(running, timeout=60, raise_error=True)
    assert order[-3:] == ["first ends", "again begins", "again ends"]


def test_who_waited_for_too_long_is_told_that_the_first_is_under_way() -> None:
    under_way = UnderWay()
    with under_way.alone(repeatable("k"), FAR):
        for until in (time.monotonic() + 0.01, time.monotonic() - 1):
            with pytest.raises(InFlight), under_way.alone(repeatable("k"), until):
                pass
    with under_way.alone(repeatable("k"), FAR):
        pass


def test_what_broke_off_is_not_waited_for() -> None:
    under_way = UnderWay()
    with pytest.raises(ZeroDivisionError), under_way.alone(repeatable("k"), FAR):
        raise ZeroDivisionError
    with under_way.alone(repeatable("k"), FAR):
        pass
