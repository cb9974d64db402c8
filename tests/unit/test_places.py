"""A process holds only so many calls, and no tenant can take all of its places."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from api.places import Places

MOST = 400
Hold = Callable[[str, uuid.UUID], bool]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


@pytest.fixture
def places() -> Places:
    return Places(most_of_party=20, most_in_all=MOST)


@pytest.fixture
def hold(places: Places, stack: ExitStack) -> Hold:
    return lambda party, tenant: stack.enter_context(places.taken(party, tenant))


def test_a_tenant_with_many_links_leaves_room_for_others(hold: Hold) -> None:
    greedy, other = uuid.uuid4(), uuid.uuid4()
    assert sum(hold(f"link of {n % 100}", greedy) for n in range(MOST)) == MOST * 3 // 4
    assert sum(hold(f"key {n % 100}", other) for n in range(MOST)) == MOST // 4 * 3 // 4


def test_a_party_has_a_limit_of_its_own(hold: Hold) -> None:
    assert sum(hold("key", uuid.UUID(int=1)) for _ in range(50)) == 20


def test_there_is_an_end_however_many_tenants_come(hold: Hold) -> None:
    assert sum(hold(str(n), uuid.UUID(int=n)) for n in range(2 * MOST)) == MOST


def test_places_are_given_back(places: Places, stack: ExitStack, hold: Hold) -> None:
    tenant = uuid.uuid4()
    for _ in range(3):
        assert sum(hold("key", tenant) for _ in range(30)) == 20
        stack.close()
    with places.taken("key", tenant) as held:
        assert held
