"""Fetched LoRAs on this machine's disk, each named by the SHA-256 of its content; those used longest ago go first."""

import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

FRESH_SECONDS: Final = 3600
"""For how long what a URL answered stands for it."""
_FILE: Final = ".safetensors"
_URL: Final = ".url"


class LoraCache:
    """Several processes may share its directory; nothing here waits for another."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes

    def find(self, url: str) -> bytes | None:
        """What this URL answered within the last hour, if that is still here and whole."""
        try:
            note = self._note(url)
            if time.time() - note.stat().st_mtime > FRESH_SECONDS:
                return None
            sha256 = note.read_text()
            path = self._directory / (sha256 + _FILE)
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def keep(self, url: str, content: bytes) -> None:
        """Keep what a URL answered; a disk that takes no more is no reason to fail."""
        sha256 = hashlib.sha256(content).hexdigest()
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            path = self._directory / (sha256 + _FILE)
            self._write(path, content)
            self._write(self._note(url), sha256.encode())
            self._make_room(path)

    def _note(self, url: str) -> Path:
        return self._directory / (hashlib.sha256(url.encode()).hexdigest() + _URL)

    def _write(self, path: Path, content: bytes) -> None:
        partial = self._directory / f"{uuid.uuid4()}.part"
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        files = [_seen(path) for path in self._directory.iterdir()]
        held = sum(size for _, size, path in files if path.suffix == _FILE)
        for used_at, size, path in sorted(files, key=lambda each: each[0]):
            if path.suffix == _FILE and held > self._most_bytes and path != newest:
                path.unlink(missing_ok=True)
                held -= size
            elif path.suffix != _FILE and time.time() - used_at > FRESH_SECONDS:
                path.unlink(missing_ok=True)


def _seen(path: Path) -> tuple[float, int, Path]:
    try:
        found = path.stat()
    except FileNotFoundError:  # another process made room
        return 0.0, 0, path
    return found.st_mtime, found.st_size, path
