"""Files that only their owner may read: passwords, keys and addresses of private servers."""

import os
import secrets
from pathlib import Path

from fluxfarm.errors import SettingsError


def write_private(path: Path, content: str) -> None:
    """Put a file in place whole or not at all, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(content)
    draft.replace(path)


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner may enter.

    Raises:
        SettingsError: it is there and belongs to somebody else.

    """
    path.mkdir(parents=True, exist_ok=True)
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise SettingsError(
            f"{path} belongs to the account with number {owner}; start fluxfarm as that account, "
            "or choose another data directory"
        )
    path.chmod(0o700)
    return path


def kept_secret(path: Path) -> str:
    """The secret in a file; made on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()
