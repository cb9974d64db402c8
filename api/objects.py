"""The store as API processes use it: nothing that blocks runs in the loop that serves all other requests."""

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from fluxfarm.errors import Busy
from fluxfarm.storage import LocalStore, ObjectStore

THREADS = 2
"""Few, for each may hold a decoded picture."""
WHOLE_AT_ONCE = 8
"""Objects that are read into memory."""
PATIENCE_SECONDS = 10.0

T = TypeVar("T")


class Objects:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._threads = ThreadPool(THREADS)
        # Files block; sockets do not, and a connection that one thread opened must not be used by another.
        self._blocks = isinstance(store, LocalStore)
        self._whole = BoundedSemaphore(WHOLE_AT_ONCE)

    def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run what computes for long or blocks, while other requests go on."""
        result: T = self._threads.apply(work, arguments)
        return result

    def put(self, key: str, data: bytes, media_type: str) -> None:
        self._run(self._store.put, key, data, media_type)

    def delete(self, key: str) -> None:
        self._run(self._store.delete, [key])

    def delete_all(self, keys: Iterable[str], prefix: str | None) -> None:
        """Those objects, and all whose keys start with `prefix`."""
        self._run(lambda: self._store.delete([*keys, *(self._store.keys(prefix) if prefix else ())]))

    def data_uri(self, key: str, media_type: str) -> str:
        """A whole object as a data URI; raises as `base64` does."""
        return f"data:{media_type};base64,{self.base64(key)}"

    def base64(self, key: str) -> str:
        """A whole object in base64.

        Raises:
            ObjectMissing: it is gone.
            Unavailable: the store is away, or so slow that too many wait for it.

        """
        if not self._whole.acquire(timeout=PATIENCE_SECONDS):
            raise Busy("Too many pictures are being read to be told as data; try again.")
        try:
            data = self._run(lambda: b"".join(self._store.read(key)))
        finally:
            self._whole.release()
        return base64.b64encode(data).decode()

    def chunks(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """A part of an object, piece by piece; raises `ObjectMissing` at once."""
        return self._store.read(key, start, end)

    def link(self, key: str, seconds: int, *, media_type: str, filename: str | None) -> str | None:
        """A link to the store itself, where clients can reach it."""
        return self._store.link(key, seconds, media_type=media_type, filename=filename)

    def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return self.in_thread(work, *arguments) if self._blocks else work(*arguments)
