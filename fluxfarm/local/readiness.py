"""Asks the API whether predictions can be made: it answers, and a worker serves each model."""

import http.client
import json
import time
from collections.abc import Callable, Iterable

from fluxfarm.local.address import Address

PATIENCE = 2.0
REPEAT = 5.0


class Readiness:
    """Remembers what is still missing, and says so when that changes and every few seconds."""

    def __init__(self, address: Address, models: Iterable[str], say: Callable[[str], None]) -> None:
        self._address = address
        self._models = tuple(models)
        self._say = say
        self._begun = time.monotonic()
        self._said: tuple[str, float] = ("", 0.0)

    def check(self) -> bool:
        missing = self._missing()
        if missing:
            self._tell(missing)
        return not missing

    def _missing(self) -> str:
        status, answer = ask(self._address, "/readyz")
        if status == 0:
            return "the API"
        if status != http.client.OK:
            return f"the API, which says {answer.get('status') or answer.get('error') or status}"
        workers = answer.get("workers")
        absent = [slug for slug in self._models if not isinstance(workers, dict) or not workers.get(slug)]
        return f"a worker: loading {', '.join(absent)}" if absent else ""

    def _tell(self, missing: str) -> None:
        now = time.monotonic()
        what, when = self._said
        if missing == what and now - when < REPEAT:
            return
        self._said = (missing, now)
        self._say(f"waiting for {missing}" + (f" ({now - self._begun:.0f} s so far)" if missing == what else ""))


def ask(address: Address, path: str) -> tuple[int, dict[str, object]]:
    """GET a path of the API; the HTTP number (0 when nobody answers) and the JSON object that came with it."""
    connection = http.client.HTTPConnection(*address.from_here, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return 0, {}
    except ValueError:
        return response.status, {}
    finally:
        connection.close()
    return response.status, answer if isinstance(answer, dict) else {}
