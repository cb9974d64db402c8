"""Places and expectations from one look at a queue, without a database."""

import itertools
import uuid

import pytest

from fluxfarm.line import MARKS, Line, Rank, WaitingFor, rough


def line(costs: list[float], busy: list[float]) -> Line:
    """A queue of which these seconds wait, in ranks 10, 20, …; as `look` makes it, of its marks only."""
    through = list(itertools.accumulate(costs))
    reached = [mark for mark in MARKS if mark <= len(costs)]
    ranks = [Rank(0, mark * 10, mark) for mark in reached]
    held = {uuid.UUID(int=number): left for number, left in enumerate(busy)}
    return Line(ranks, [through[mark - 1] for mark in reached], 1.0, WaitingFor.TURN, held)


def test_the_first_hundred_places_are_exact_and_the_rest_known_to_a_tenth() -> None:
    queue = line([1.0] * 1000, [0.0])
    for true in range(1, 1001):
        told = queue.place(Rank(0, true * 10, true), 1.0).position
        assert told == rough(true)
        assert told == true if true <= 100 else true / 1.1 <= told <= true


def test_one_that_came_after_the_look_stands_where_its_rank_says() -> None:
    queue = line([1.0] * 5, [0.0])
    assert queue.place(Rank(0, 25, 0), 1.0).position == 3
    assert queue.place(Rank(1, 0, 0), 1.0).position == 6
    assert queue.end(1.0).position == 6


@pytest.mark.parametrize(
    ("costs", "busy", "expected"),
    [
        ([2, 2, 2], [0], [2, 4, 6]),
        ([2, 2, 2], [3], [5, 7, 9]),
        ([2, 2, 2, 2], [0, 0], [2, 2, 4, 4]),
        # Whoever is free first takes the next.
        ([4, 1, 1, 1], [0, 0], [4, 1, 2, 3]),
        ([1, 1], [0.5, 10], [1.5, 2.5]),
    ],
)
def test_pictures_are_expected_when_the_devices_before_them_are_free(
    costs: list[float], busy: list[float], expected: list[float]
) -> None:
    queue = line(costs, busy)
    told = [queue.place(Rank(0, i * 10, i), cost).eta_seconds for i, cost in enumerate(costs, 1)]
    assert told == pytest.approx(expected)


def test_one_that_came_after_the_look_is_seen_by_those_behind_it() -> None:
    queue, came = line([2.0, 4.0], [1.0]), Rank(0, 15, 3)
    told = queue.joined(came, 8.0).joined(came, 8.0)
    assert [told.place(rank, 0.0).position for rank in (Rank(0, 10, 1), came, Rank(0, 20, 2))] == [1, 2, 3]
    assert told.starts == [1.0, 3.0, 11.0, 15.0]
    assert line([], [0.0]).joined(came, 8.0).end(1.0).eta_seconds == 9.0
    long = line([1.0] * 100, [0.0])
    assert long.joined(came, 8.0) is long


def test_far_back_the_costs_ahead_are_shared_by_the_workers() -> None:
    queue = line([1.0] * 500, [0.0] * 4)
    told = queue.place(Rank(0, 5000, 500), 1.0).eta_seconds
    assert told == pytest.approx(500 / 4, rel=0.1)


def test_nothing_is_expected_while_no_worker_can_begin() -> None:
    place = Line([], [], 1.0, WaitingFor.MODEL_LOAD, {}).end(1.0)
    assert (place.position, place.eta_seconds, place.waiting_for) == (1, None, WaitingFor.MODEL_LOAD)
