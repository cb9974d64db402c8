"""What every store of pictures can do, whatever is behind it."""

import secrets
from collections.abc import Iterable, Iterator
from typing import Protocol

from fluxfarm.errors import ObjectMissing, Unavailable

CHUNK = 64 * 1024


class ObjectStore(Protocol):
    """Objects by key; written once, read by ranges, deleted.

    Every method raises `Unavailable` while the store is away, refuses or is full, and `ValueError` for a key that
    `fluxfarm.storage.keys` would not make.
    """

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Store `data` so that it outlives a crash; an object of that key is replaced as a whole."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Chunks of the bytes from `start` up to, not including, `end`; what lies past the object's end is left out.

        Raises:
            ObjectMissing: at once, not with the first chunk.

        """

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are missing already are fine."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, in no order."""

    def link(self, key: str, seconds: int, *, media_type: str, filename: str | None) -> str | None:
        """A URL that reads this object for `seconds` at an address clients can reach; None where there is none.

        A `filename` makes browsers save the picture under that name.
        """

    def tidy(self) -> None:
        """Remove what writes that were cut off long ago left behind."""

    def probe(self) -> None:
        """Write, read back and delete a small object.

        Raises:
            Unavailable: one of the three does not work.

        """
        key = f"probes/{secrets.token_hex(16)}.txt"
        written = key.encode()
        self.put(key, written, "text/plain")
        try:
            found = b"".join(self.read(key))
        except ObjectMissing:
            found = b""
        self.delete([key])
        if found != written:
            raise Unavailable("the store did not give back what was just written to it")
