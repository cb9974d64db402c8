"""What all kinds of checkers have in common on disk."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def named(location: str, config: Any) -> str:
    """What a checker is called in verdicts and logs: where it lies, and which revision of it that is."""
    directory = Path(location)
    if not directory.is_dir():
        return f"{location}@{str(config._commit_hash or 'unknown')[:12]}"  # noqa: SLF001 (transformers has no other name)
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"{directory.resolve().name}@{digest.hexdigest()[:12]}"


def refuse_gaps(report: Mapping[str, Any]) -> None:
    """Raise `ValueError` if files lack weights, which transformers fills with random numbers."""
    if report["missing_keys"]:
        raise ValueError(f"it lacks {min(report['missing_keys'])}")
