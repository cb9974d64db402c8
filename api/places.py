"""How many calls a process holds, and for whom: none may take all the places there are."""

import uuid
from collections import Counter
from collections.abc import Hashable

MOST_IN_ALL = 4000
"""Held by one process; it serves other connections beside them."""
TIMES_THE_REST = 3
"""A tenant may hold so many times what is left free: three quarters if it is alone, and less the more there are.

Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
"""


class Places:
    """A process has one; a party is a key or a signed link, and a tenant may have any number of them."""

    def __init__(self, *, most_of_party: int, most_in_all: int = MOST_IN_ALL) -> None:
        self._most_of_party = most_of_party
        self._free = most_in_all
        self._held: Counter[Hashable] = Counter()

    def take(self, party: str, tenant_id: uuid.UUID) -> bool:
        """Hold a place, to be given back; False where the party, the tenant or all have as many as may be."""
        if self._held[party] >= self._most_of_party or self._held[tenant_id] >= TIMES_THE_REST * self._free:
            return False
        self._free -= 1
        self._held.update((party, tenant_id))
        return True

    def give_back(self, party: str, tenant_id: uuid.UUID) -> None:
        self._free += 1
        self._held.subtract((party, tenant_id))
        for each in (party, tenant_id):
            if not self._held[each]:
                del self._held[each]
