"""Objects as files below one directory: for one machine, and for tests."""

import os
import secrets
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from fluxfarm.errors import ObjectMissing, Unavailable
from fluxfarm.storage.contract import CHUNK, ObjectStore
from fluxfarm.storage.keys import checked_key, checked_prefix

ROUNDS = 10
"""How often a write starts again because a deletion pruned its directory meanwhile."""

DRAFTS = ".drafts"
DRAFT_SECONDS = 3600
"""No write takes nearly as long."""


class LocalStore(ObjectStore):
    """A key is a path below `root`; what is being written is in a directory whose name no key can have."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / DRAFTS

    def put(self, key: str, data: bytes, media_type: str) -> None:  # noqa: ARG002 - the row keeps the media type
        path = self._root / checked_key(key)
        try:
            self._write(path, data)
        except OSError as error:
            raise _away("write", error) from None

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        chunks = _chunks(self._root / checked_key(key), start, end)
        next(chunks)  # runs as far as the open, so that a missing object raises here
        return chunks

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._root / checked_key(key)
            try:
                path.unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):
                continue  # no object can have that key here
            except OSError as error:
                raise _away("delete", error) from None
            self._prune(path.parent)

    def keys(self, prefix: str) -> Iterator[str]:
        directory = self._root / checked_prefix(prefix).rpartition("/")[0]
        for parent, directories, names in os.walk(directory, onerror=_raise_unless_gone):
            within = Path(parent).relative_to(self._root)
            if within == Path():
                directories[:] = [name for name in directories if name != DRAFTS]
            found = ((within / name).as_posix() for name in names)
            yield from (key for key in found if key.startswith(prefix))

    def link(self, key: str, seconds: int, *, media_type: str, filename: str | None) -> None:
        """Nobody but the API itself can read these files."""

    def tidy(self) -> None:
        """Remove drafts of writes that were cut off."""
        over = time.time() - DRAFT_SECONDS
        try:
            with os.scandir(self._drafts) as drafts:
                for draft in drafts:
                    if draft.stat().st_mtime < over:
                        Path(draft).unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _away("tidy", error) from None

    def _write(self, path: Path, data: bytes) -> None:
        named: list[Path] = []
        for turn in range(1, ROUNDS + 1):
            try:
                self._make_directory(path.parent, named)
                self._replace(path, data)
                # Last, and the deepest first: where a journal keeps order, the first takes all the others with it.
                for directory in (path.parent, *reversed(named)):
                    _sync(directory)
            except (FileNotFoundError, FileExistsError):  # of a directory that went while it was looked at, or a file
                if turn == ROUNDS:
                    raise
            else:
                return

    def _make_directory(self, directory: Path, named: list[Path]) -> None:
        """Make it for its owner only; `named` gets the directories in which a new name must still be made durable."""
        if directory.is_dir():
            return
        if directory == self._root:
            directory.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._make_directory(directory.parent, named)
        directory.mkdir(mode=0o700, exist_ok=True)
        named.append(directory.parent)

    def _replace(self, path: Path, data: bytes) -> None:
        self._drafts.mkdir(mode=0o700, exist_ok=True)
        draft = self._drafts / secrets.token_hex(16)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, for its mode
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _prune(self, directory: Path) -> None:
        """Remove the directory and its parents as long as they are empty; an empty store leaves no trace."""
        while directory != self._root:
            try:
                directory.rmdir()
            except OSError:
                return
            directory = directory.parent
        with suppress(OSError):
            self._drafts.rmdir()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(path: Path, start: int, end: int | None) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            yield b""
            left = (os.fstat(file.fileno()).st_size if end is None else end) - start
            file.seek(start)
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ObjectMissing("the object is not in the store") from None
    except OSError as error:
        raise _away("read", error) from None


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _away("list", error)


def _away(doing: str, error: OSError) -> Unavailable:
    return Unavailable(f"the local store could not {doing}: {error.strerror or 'input or output error'}")
