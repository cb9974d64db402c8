"""What all kinds of checkers have in common on disk."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from huggingface_hub import try_to_load_from_cache

MAIN: Final = "main"


def whence(said: str) -> tuple[str, str]:
    """A directory, or a hub id, and the revision that follows it after `@`, else the main branch."""
    location, _, revision = said.partition("@")
    return (said, MAIN) if Path(said).is_dir() else (location, revision or MAIN)


def named(location: str, revision: str) -> str:
    """What a checker is called in verdicts and logs: where it lies, and which revision of it that is."""
    directory = Path(location)
    if not directory.is_dir():
        kept = try_to_load_from_cache(location, "config.json", revision=revision)
        return f"{location}@{Path(kept).parent.name[:12] if isinstance(kept, str) else revision}"
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"{directory.resolve().name}@{digest.hexdigest()[:12]}"


def refuse_gaps(report: Mapping[str, Any]) -> None:
    """Raise `ValueError` if files lack weights, which transformers fills with random numbers."""
    if report["missing_keys"]:
        raise ValueError(f"it lacks {min(report['missing_keys'])}")
