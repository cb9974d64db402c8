"""Brings in the LoRAs that a prediction asks for; looks at each file's header before anything of it is loaded."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from fluxfarm.errors import PredictionFailed
from fluxfarm.loras import AskedLora, Offered, Origin
from fluxfarm.settings import Settings
from worker.destination import Rules
from worker.lora_cache import LoraCache
from worker.outbound import Door
from worker.pipelines import FOR_WORDS, Lora

LONGEST_HEADER: Final = 16 * 1024 * 1024
_LENGTH: Final = 8
"""Bytes before the header that say how long it is."""
_WIDTHS: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_MOST_SIDES: Final = 8
_DORA: Final = "dora_scale"


class LoraReader:
    """A process has one; it may wait long for somebody else's server."""

    def __init__(self, settings: Settings) -> None:
        self._most_bytes = settings.lora_max_bytes
        self._cache = LoraCache(settings.data_dir / "loras", settings.lora_cache_bytes)
        self._door = Door(Rules(allow=settings.fetch_allow), settings.lora_limit_seconds, settings.lora_max_bytes)

    def read(
        self, offered: Offered, asked: AskedLora, field: str, cancelled: Callable[[], bool]
    ) -> tuple[Lora, list[str]]:
        """One, and what its caller should know of it.

        Raises:
            PredictionFailed: it is not there, not allowed, too large, or not a safetensors file; the text begins with
                `field`.
            Cancelled: `cancelled` came true meanwhile.

        """
        try:
            content = self._content(offered, asked, cancelled)
            names = tensor_names(content)
        except PredictionFailed as failure:
            raise PredictionFailed(failure.reason, f"{field}: {failure.message}") from failure
        notices = [f"{field}: {said}" for said in _ignored(names)]
        return Lora(content, asked.scale, _sha256(content)), notices

    def _content(self, offered: Offered, asked: AskedLora, cancelled: Callable[[], bool]) -> bytes:
        content = self._found(offered, asked, cancelled)
        if not _is(content, asked.sha256):
            raise PredictionFailed(
                "lora_changed", f"its file has not the sha256 {asked.sha256} that it was asked for by"
            )
        return content

    def _found(self, offered: Offered, asked: AskedLora, cancelled: Callable[[], bool]) -> bytes:
        if asked.origin not in offered.origins:
            raise PredictionFailed("lora_forbidden", f"a LoRA by {asked.origin} is not taken here any more")
        if asked.origin is Origin.URL:
            return self._fetched(asked, cancelled)
        if asked.origin is Origin.FILE:
            assert offered.directory is not None
            return self._file(_inside(offered.directory, asked.where))
        entry = offered.entry(asked.where)
        if entry is None:
            raise PredictionFailed("lora_forbidden", "there is no LoRA of that name any more")
        content = self._file(entry.path)
        if not _is(content, entry.sha256):
            raise PredictionFailed("lora_forbidden", "its file is not the one that the operator meant")
        return content

    def _fetched(self, asked: AskedLora, cancelled: Callable[[], bool]) -> bytes:
        kept = self._cache.find(asked.where)
        if kept is not None and _is(kept, asked.sha256):
            return kept
        content = self._door.fetch(asked.where, cancelled)
        tensor_names(content)
        self._cache.keep(asked.where, content)
        return content

    def _file(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(self._most_bytes + 1)
        except OSError as error:
            raise PredictionFailed("lora_missing", "its file is not there") from error
        if len(content) > self._most_bytes:
            raise PredictionFailed("input_too_large", f"it is larger than {self._most_bytes:,} bytes")
        return content


def tensor_names(content: bytes) -> frozenset[str]:
    """The names in the header of a safetensors file.

    Raises:
        PredictionFailed: it is not one, is not whole, or holds something else than real numbers.

    """
    length = int.from_bytes(content[:_LENGTH], "little")
    try:
        header = json.loads(content[_LENGTH : _LENGTH + min(length, LONGEST_HEADER)])
        ends = [_end_of(each) for name, each in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable() from error
    if max(ends, default=-1) != len(content) - _LENGTH - length:
        raise _unreadable()
    return frozenset(header) - {"__metadata__"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is(content: bytes, sha256: str | None) -> bool:
    """Whether it is the file that is meant, if one is."""
    return sha256 is None or _sha256(content) == sha256


def _ignored(names: Iterable[str]) -> Iterator[str]:
    """What a file holds that is left out."""
    if any(name.startswith(FOR_WORDS) for name in names):
        yield "what it has for the text encoders is not used."
    if any(_DORA in name for name in names):
        yield "it is a DoRA, whose magnitudes are not used."


def _end_of(described: dict[str, Any]) -> int:
    """Where a tensor ends, in bytes from the end of the header; raises `ValueError` if it is not as long as it says."""
    begin, end = described["data_offsets"]
    shape = described["shape"]
    plain = len(shape) <= _MOST_SIDES and all(type(each) is int and 0 <= each < 2**40 for each in (begin, end, *shape))
    if not plain or end - begin != math.prod(shape) * _WIDTHS[described["dtype"]]:
        raise ValueError
    return int(end)


def _unreadable() -> PredictionFailed:
    return PredictionFailed("lora_unreadable", "it is not a whole safetensors file of real numbers")


def _inside(directory: Path, name: str) -> Path:
    """A file below `directory`, wherever links lead."""
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise PredictionFailed("lora_missing", "its file is not there")
    return path
