"""A process holds only so many calls, and no tenant can take all of its places."""

import uuid

import pytest

from api.places import Places

MOST = 400


@pytest.fixture
def places() -> Places:
    return Places(most_of_party=20, most_in_all=MOST)


def test_a_tenant_with_many_links_leaves_room_for_others(places: Places) -> None:
    greedy, other = uuid.uuid4(), uuid.uuid4()
    assert sum(places.take(f"link of {n % 100}", greedy) for n in range(MOST)) == MOST * 3 // 4
    assert sum(places.take(f"key {n % 100}", other) for n in range(MOST)) == MOST // 4 * 3 // 4


def test_a_party_has_a_limit_of_its_own(places: Places) -> None:
    assert sum(places.take("key", uuid.UUID(int=1)) for _ in range(50)) == 20


def test_there_is_an_end_however_many_tenants_come(places: Places) -> None:
    assert sum(places.take(str(n), uuid.UUID(int=n)) for n in range(2 * MOST)) == MOST


def test_places_are_given_back(places: Places) -> None:
    tenant = uuid.uuid4()
    for _ in range(3):
        assert sum(places.take("key", tenant) for _ in range(30)) == 20
        for _ in range(20):
            places.give_back("key", tenant)
