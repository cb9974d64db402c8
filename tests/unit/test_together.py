"""Calls that wait for one another are asked as a group, in order, and none is left waiting."""

from collections.abc import Sequence

import gevent
import pytest
from gevent.event import Event

from api.together import Together
from fluxfarm.errors import NotFound


class Asked:
    """Answers when it is let; remembers the groups."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = Event()

    def __call__(self, group: Sequence[int]) -> list[int]:
        self.groups.append([*group])
        self.go.wait()
        if 13 in group:
            raise NotFound("13")
        return [each * 10 for each in group]


def test_what_comes_meanwhile_is_asked_together_and_in_order() -> None:
    asked = Asked()
    together = Together(asked, most=3)
    calls = [gevent.spawn(together.ask, "key", number) for number in range(6)]
    gevent.idle()
    asked.go.set()
    gevent.joinall(calls, timeout=60)
    assert [call.value for call in calls] == [0, 10, 20, 30, 40, 50]
    assert asked.groups == [[0], [1, 2, 3], [4, 5]]
    assert together.ask("key", 6) == 60


def test_parties_do_not_wait_for_one_another() -> None:
    asked = Asked()
    together = Together(asked, most=3)
    calls = [gevent.spawn(together.ask, party, 1) for party in ("one", "other")]
    gevent.idle()
    assert asked.groups == [[1], [1]]
    asked.go.set()
    gevent.joinall(calls, timeout=60)


def test_a_failure_is_told_to_its_group_alone() -> None:
    asked = Asked()
    together = Together(asked, most=2)
    calls = [gevent.spawn(together.ask, "key", number) for number in (1, 13, 2, 3)]
    gevent.idle()
    asked.go.set()
    gevent.joinall(calls, timeout=60)
    assert [call.value for call in calls] == [10, None, None, 30]
    assert [type(call.exception) for call in calls] == [type(None), NotFound, NotFound, type(None)]


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_one_that_is_ended_leaves_nobody_waiting(ended: int) -> None:
    asked = Asked()
    together = Together(asked, most=1)
    calls = [gevent.spawn(together.ask, "key", number) for number in range(3)]
    gevent.idle()
    calls[ended].kill(block=False)
    gevent.idle()
    asked.go.set()
    gevent.joinall(calls, timeout=60)
    rest = [call for place, call in enumerate(calls) if place != ended]
    assert [call.value for call in rest] == [place * 10 for place in range(3) if place != ended]
    assert together.ask("key", 4) == 40
